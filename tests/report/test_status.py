"""A twin's word rests on intervals, by rules that anyone can read and change."""

from dataclasses import replace
from pathlib import Path

import pytest

from bitlens.errors import BitlensError, InputError
from bitlens.report.audit_results import AuditResults
from bitlens.report.status import Rule, Rules, parse, read, require_measurable, shipped, status
from bitlens.results.records import Check
from tests.support.audit_stores import RTN, Numbers, with_rows

SURVIVED = "features__survived__resid_2__late"
INTACT: dict[str, Numbers] = {
    "behaviour__same_top__logits": (0.995, 0.99, 0.999),
    "behaviour__perplexity_ratio__logits": (1.001, 0.999, 1.003),
    "behaviour__kl__logits": (0.001, 0.0005, 0.002),
    "features__survived__resid_0__early": (0.99, 0.98, 1.0),
    SURVIVED: (0.99, 0.98, 1.0),
    "heads__copying_kept__logits": (1.0, 0.99, 1.01),
    "heads__induction_score_kept__pattern": (1.0, 0.99, 1.01),
}


def judged(deep: AuditResults, **numbers: Numbers) -> tuple[str, str, str]:
    """The word for a twin with these numbers, otherwise intact; why, and what may be worse."""
    found = with_rows(deep, **{**INTACT, **numbers})
    (twin,) = (one for one in found.measured("demo") if one.compression == RTN)
    told = status(found, "demo", twin)
    return told.word, "; ".join(told.because), "; ".join(told.maybe)


@pytest.mark.parametrize(
    ("side", "interval", "outcome"),
    [
        ("below", (0.6, 0.74), "holds"),
        ("below", (0.6, 0.75), "open"),
        ("below", (0.75, 0.8), "refuted"),
        ("above", (0.76, 0.8), "holds"),
        ("above", (0.75, 0.8), "open"),
        ("above", (0.6, 0.75), "refuted"),
        ("below", (None, None), "open"),
    ],
)
def test_a_rule_looks_at_the_whole_interval(
    side: str, interval: tuple[float | None, float | None], outcome: str
) -> None:
    """Never at the value; at the bound itself it does not hold."""
    rule = Rule(word="damaged", metric="a.b", side=side, bound=0.75)  # type: ignore[arg-type]
    row = {"value": 0.1, "low": interval[0], "high": interval[1], "intact": 1.0}
    assert rule.outcome(row) == outcome


def test_what_did_not_change_at_all_needs_no_interval() -> None:
    """No document tells it from the reference."""
    rule = Rule(word="changed", metric="a.b", side="below", bound=1.0)
    assert rule.outcome({"value": 1.0, "low": None, "high": None, "intact": 1.0}) == "refuted"


def test_the_worst_word_that_is_sure_counts(deep: AuditResults) -> None:
    """What is less bad is not said; what might be worse is."""
    assert judged(deep) == ("intact", "", "")
    word, because, maybe = judged(
        deep,
        behaviour__same_top__logits=(0.85, 0.83, 0.87),
        **{SURVIVED: (0.3, 0.2, 0.4)},
    )
    assert word == "damaged"
    assert because == (
        "same top token is 85.0 % [83.0, 87.0]: below 90.0 %; "
        "survived at resid.2 is 30 % [20, 40]: below 75.0 %"
    )
    assert maybe == "survived at resid.2 is 30 % [20, 40]: perhaps below 25.0 %"


def test_what_no_interval_settles_is_undecided(deep: AuditResults) -> None:
    """An interval across a bound, or none."""
    word, because, _ = judged(deep, **{SURVIVED: (0.94, 0.9, 0.97)})
    assert (word, because) == (
        "undecided",
        "survived at resid.2 is 94.0 % [90.0, 97.0]: perhaps below 95.0 %",
    )
    assert judged(deep, **{SURVIVED: (0.1, None, None)})[0] == "undecided"


def test_an_sae_in_doubt_damns_nobody(deep: AuditResults) -> None:
    """What was read through it is not judged."""
    bad = Check("fits", False, "it does not.", bears_on="late", model="demo")
    unsure = replace(deep, manifest={**deep.manifest, "checks": [vars(bad)]})
    assert judged(deep, **{SURVIVED: (0.1, 0.05, 0.15)})[0] == "broken"
    assert judged(unsure, **{SURVIVED: (0.1, 0.05, 0.15)})[0] == "intact"


def test_other_rules_give_other_words(deep: AuditResults, tmp_path: Path) -> None:
    """Those of a file stand in the place of ours."""
    text = """
broken: {means: b, advice: B, rules: [{metric: behaviour.same_top, below: 0.999}]}
damaged: {means: d, advice: D, rules: []}
changed: {means: c, advice: C, rules: []}
intact: {means: i, advice: I}
undecided: {means: u, advice: U}
"""
    (tmp_path / "mine.yaml").write_text(text)
    rules = read(tmp_path / "mine.yaml")
    assert len(rules.rules) == 1
    found = with_rows(replace(deep, rules=rules), behaviour__same_top__logits=(0.99, 0.98, 0.995))
    (twin,) = (one for one in found.measured("demo") if one.compression == RTN)
    told = status(found, "demo", twin)
    assert (told.word, told.means, told.advice) == ("broken", "b", "B")


def test_ours_grow_stricter_with_the_word() -> None:
    """A law: what is broken is damaged, and what is damaged is changed, by every number."""
    rules = shipped().rules
    for name in {rule.metric for rule in rules}:
        bounds = [rule.bound if rule.side == "below" else -rule.bound
                  for word in ("broken", "damaged", "changed")
                  for rule in rules if (rule.metric, rule.word) == (name, word)]  # fmt: skip
        assert bounds == sorted(bounds)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "while parsing"),
        ("3", "its words are 3"),
        ("{intact: {}}", "its words are intact, not broken"),
        ("{W}", "is 'x', not a metric and a bound"),
        ("{S}", "has 'belov', not above or below"),
        ("{N}", "is 'low', not a number"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, said: str) -> None:
    """With its value, and what is expected."""
    rules = {"{W}": "[x]", "{S}": "[{metric: a.b, belov: 1}]", "{N}": "[{metric: a, below: low}]"}
    if text in rules:
        rest = "".join(f"{w}: {{means: m, advice: a, rules: []}}\n" for w in ("damaged", "changed"))
        text = f"broken: {{means: m, advice: a, rules: {rules[text]}}}\n{rest}" + (
            "intact: {means: m, advice: a}\nundecided: {means: m, advice: a}"
        )
    with pytest.raises(InputError) as refused:
        parse(text, "mine.yaml")
    assert refused.value.found.startswith("mine.yaml: ")
    assert said.lower() in refused.value.found.lower()


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(BitlensError, match=r"none\.yaml cannot be read"):
        read(tmp_path / "none.yaml")


def test_without_any_number_nothing_is_claimed(deep: AuditResults) -> None:
    """Rules about numbers that nobody measured say nothing."""
    means = dict.fromkeys(("broken", "damaged", "changed", "intact", "undecided"), "")
    none = replace(deep, rules=Rules(rules=(), means=means, advice=means))
    told = status(none, "demo", none.measured("demo")[0])
    assert told.word == "undecided"
    assert told.because == ("nothing was measured that a rule is about",)


def test_a_rule_on_a_misspelt_number_is_refused(deep: AuditResults) -> None:
    """It would hold of nothing; one of an analysis that was not run is left out."""
    told = dict.fromkeys(("broken", "damaged", "changed", "intact", "undecided"), "")

    def rules(metric: str) -> Rules:
        rule = Rule(word="broken", metric=metric, side="below", bound=0.5)
        return Rules(rules=(rule,), means=told, advice=told)

    with pytest.raises(InputError) as refused:
        require_measurable(rules("features.survivd"), deep)
    assert "features.survivd" in refused.value.found
    assert "features.survived" in refused.value.remedy
    require_measurable(rules("features.survived"), deep)
    require_measurable(rules("circuits.faithfulness"), deep)
