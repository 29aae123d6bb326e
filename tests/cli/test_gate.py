"""gate: an exit code for every outcome, and none that could be taken for another."""

from pathlib import Path

import pytest

from tests.support.commands import Command
from tests.support.gate_stores import MEAN, gate_store


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A twin with a KL of 0.1, give or take 0.005."""
    return gate_store(tmp_path / "run")


def written(folder: Path, *bounds: float, more: str = "") -> Path:
    path = folder / "mine.yaml"
    lines = [f"  - {{metric: behaviour.kl, at_most: {bound}{more}}}\n" for bound in bounds]
    path.write_text("rules:\n" + "".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("bounds", "code", "said"),
    [
        ([0.2], 0, "Gate: pass. 1 rule passes."),
        ([0.2, 0.01], 1, "Gate: FAIL. 1 rule fails, 1 rule passes."),
        ([0.2, MEAN], 2, "Gate: cannot decide. 1 rule cannot be decided, 1 rule passes."),
        ([MEAN, 0.01], 1, "Gate: FAIL. 1 rule fails, 1 rule cannot be decided."),
    ],
)
def test_every_verdict_has_its_code(
    run: Path, bitlens: Command, bounds: list[float], code: int, said: str
) -> None:
    """What fails is more than what cannot be decided."""
    done = bitlens("gate", run, "--rules", written(run.parent, *bounds))
    assert (done.code, done.err) == (code, "")
    assert done.out.endswith(f"\n{said}\n")


def test_an_open_number_is_told_with_what_it_lacks(run: Path, bitlens: Command) -> None:
    """On one line where it is no terminal."""
    done = bitlens("gate", run, "--rules", written(run.parent, MEAN + 0.002))
    number = "    rtn:bits=4: 0.1000 nats [0.0952, 0.1048]; about 5.8 times as many documents"
    assert done.out.splitlines()[:2] == [
        "cannot decide: behaviour.kl at most 0.102 nats (1 number)",
        f"{number} would decide it",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing argument"),
        (["RUN", "--ruels", "mine.yaml"], "No such option"),
        (["RUN"], "There is no rules.yaml"),
        (["nowhere", "--rules", "mine.yaml"], "No nowhere here"),
        (["RUN", "--rules", "mine.yaml", "--baseline", "RUN"], "no rule is against it"),
    ],
)
def test_a_mistake_is_no_verdict(
    run: Path, bitlens: Command, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    """Whoever makes it, the parser included: 3, where it is 2 everywhere else."""
    monkeypatch.chdir(run.parent)
    written(run.parent, 0.2)
    done = bitlens("gate", *("run" if word == "RUN" else word for word in words))
    assert done.code == 3
    assert said in done.err


def test_a_fault_of_ours_is_no_verdict(
    run: Path, bitlens: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4, with its traceback: Python's own 1 would say that a rule fails."""
    monkeypatch.setattr("bitlens.results.gating.gate.gate", lambda *_: 1 / 0)
    done = bitlens("gate", run, "--rules", written(run.parent, 0.2))
    assert done.code == 4
    assert "ZeroDivisionError" in done.err


def test_help_is_no_mistake(bitlens: Command) -> None:
    """And says the codes."""
    done = bitlens("gate", "--help")
    assert done.code == 0
    assert "0 pass, 1 fail, 2 cannot decide" in done.out


def test_an_earlier_run_is_a_baseline(run: Path, bitlens: Command) -> None:
    """Of the same texts: 0.001 more in every shard is more."""
    then = gate_store(run.parent / "then", MEAN - 0.001)
    rules = written(run.parent, 0.0009, more=", against: baseline")
    done = bitlens("gate", run, "--rules", rules, "--baseline", then)
    assert done.code == 1
    assert done.out.startswith("FAIL: behaviour.kl minus baseline at most 0.0009 nats (1 number)")
    other = gate_store(run.parent / "other", tokens="77")
    refused = bitlens("gate", run, "--rules", rules, "--baseline", other)
    assert (refused.code, refused.out) == (3, "")
    assert "read other tokens" in refused.err


def test_an_unfinished_run_cannot_be_decided(run: Path, bitlens: Command) -> None:
    """Its rules are named nevertheless."""
    (run / "manifest.json").unlink()
    done = bitlens("gate", run, "--rules", written(run.parent, 0.2))
    assert done.code == 2
    assert done.out.startswith("cannot decide: behaviour.kl at most 0.2 (")
    assert "unfinished run" in done.out


def test_rules_are_drafted_once(run: Path, bitlens: Command) -> None:
    """They pass at once, and are not written over."""
    rules = run.parent / "drafted.yaml"
    done = bitlens("gate", run, "--init", "--rules", rules)
    assert (done.code, done.err) == (0, "")
    first, second = done.out.splitlines()
    assert first == f"Wrote 1 rule to {rules}. Read them, then:"
    assert bitlens(*second.split()[1:]).code == 0
    again = bitlens("gate", run, "--init", "--rules", rules)
    assert again.code == 3
    assert "is there already" in again.err
    beside = bitlens("gate", run, "--init", "--junit", rules)
    assert beside.code == 3
    assert "--init and --junit at once" in beside.err


def test_the_outcome_is_written_for_others(run: Path, bitlens: Command) -> None:
    """Before the exit code says that it fails; a place that cannot be written is a mistake."""
    xml, markdown = run.parent / "new" / "gate.xml", run.parent / "gate.md"
    words = ["gate", run, "--rules", written(run.parent, 0.01), "--summary", markdown]
    assert bitlens(*words, "--junit", xml).code == 1
    assert xml.read_text().startswith("<?xml")
    assert markdown.read_text().startswith("## Gate: FAIL. 1 rule fails.")
    assert bitlens(*words, "--junit", markdown / "gate.xml").code == 3
