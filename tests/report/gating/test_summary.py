"""A pull request is shown what does not pass, in a screen or two."""

from pathlib import Path

from bitlens.report.gating.summary import EACH, ROWS, TOLD, gate_summary
from bitlens.results.gating.gate import GateOutcome, gate
from bitlens.results.gating.judging import JudgedNumber, JudgedRule
from tests.support.gate_stores import MEAN, RTN, gate_store, rule


def test_it_says_what_failed_and_on_what(tmp_path: Path) -> None:
    """The verdict first, then a row a rule, what passes last, then the numbers."""
    found = gate(gate_store(tmp_path / "run"), [rule(1.0), rule(MEAN), rule(0.01)])
    lines = gate_summary(found).splitlines()
    assert lines[0] == "## Gate: FAIL. 1 rule fails, 1 rule cannot be decided, 1 rule passes."
    assert [line.split(" | ")[0] for line in lines[4:7]] == ["| cannot decide", "| FAIL", "| pass"]
    assert "- FAIL: behaviour.kl: rtn:bits=4: 0.1000 nats \\[0.0952, 0.1048\\]" in lines
    assert "- m: demo evaluation texts, 120 documents, token hash 9f2c1ab04d7e" in lines


def test_it_stays_short_and_its_names_are_text() -> None:
    """However many rules and numbers, and whatever they are called."""
    place = {"model": "m", "analysis": "behaviour", "metric": "kl", "seed": 0, "site": ""}
    place |= {"compression": f"{RTN}<img>\n# no", "item": "", "documents": 40}
    row = {**place, "value": 1.0, "low": 0.9, "high": 1.1}
    one = JudgedRule(rule=rule(0.5), numbers=(JudgedNumber(row=row, verdict="fail"),) * 300)
    told = gate_summary(GateOutcome((one,) * 50, None))
    assert len(told.splitlines()) < ROWS + TOLD + 15
    assert f"And {50 * 300 - TOLD:,} numbers more." in told
    assert "<img>" not in told.replace(r"\<img\>", "")
    assert "\n# no" not in told
    single = gate_summary(GateOutcome((one,), None))
    assert f"And {300 - EACH} numbers more." in single
