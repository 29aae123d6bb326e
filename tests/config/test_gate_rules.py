"""A file of rules is read, and whatever is wrong in it is said with its line."""

from pathlib import Path

import pytest

from bitlens.config.gate_rules import load_rules
from bitlens.errors import BitlensError
from bitlens.results.gating.rule import GateRule


def load(folder: Path, text: str) -> list[GateRule]:
    path = folder / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return load_rules(path)


def test_rules_are_what_stands_there(tmp_path: Path) -> None:
    """A bound on a side, patterns, and what is subtracted; left out, a pattern is all."""
    first, second = load(
        tmp_path,
        "rules:\n"
        "  - {metric: behaviour.kl, at_most: 1e-1}\n"
        '  - {metric: "geometry.*", at_least: -1, twin: "rtn:*", site: resid.1, item: local,\n'
        "     model: m, against: noise}\n",
    )
    assert first == GateRule(metric="behaviour.kl", side="at_most", bound=0.1)
    assert first.place.endswith("rules.yaml, line 2: rules[0]")
    assert second == GateRule(
        metric="geometry.*",
        side="at_least",
        bound=-1.0,
        twin="rtn:*",
        model="m",
        site="resid.1",
        item="local",
        against="noise",
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{metrik: a.b, at_most: 1}", r"rules\[0\].metrik is not a setting.*mean metric\?"),
        ("{metric: a.b, at_mots: 1}", "Did you mean at_most"),
        ("{metric: a.b}", "has no bounds"),
        ("{metric: a.b, at_most: 1, at_least: 0}", "has two bounds"),
        ("{metric: a.b, at_most: yes}", "at_most is True"),
        ("{metric: a.b, at_most: .nan}", "at_most is nan"),
        ("{metric: a.b, at_most: 10 %}", "at_most is '10 %'"),
        ("{metric: a.b, at_most: 1, against: nois}", "Did you mean noise"),
        ("{metric: a.b, at_most: 1, twin: 4}", "in YAML, put it in quotes"),
        ("{metric: '', at_most: 1}", "metric is ''"),
        ("{at_most: 1}", "metric is not given"),
        ("{metric: *, at_most: 1}", "line 2 is not YAML.*begins with . in quotes"),
        ("a.b", "is 'a.b'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, entry: str, said: str) -> None:
    """With its line, and what was probably meant."""
    with pytest.raises(BitlensError, match=f"(?s)line 2.*{said}|{said}"):
        load(tmp_path, f"rules:\n  - {entry}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rule: []", "Did you mean rules"),
        ("rules: []", "no list of rules"),
        ("rules: {metric: a}", "no list of rules"),
        ("- {metric: a, at_most: 1}", "rules of a gate in YAML"),
        ("", "bitlens gate RUN --init"),
    ],
)
def test_a_file_without_rules_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """It would pass everything."""
    with pytest.raises(BitlensError, match=said):
        load(tmp_path, text)


def test_a_missing_file_is_no_study(tmp_path: Path) -> None:
    """It says what was looked for."""
    said = r"There is no .*rules.yaml.\nExpected: rules of a gate.*\nTry: bitlens gate RUN --init"
    with pytest.raises(BitlensError, match=said):
        load_rules(tmp_path / "rules.yaml")
