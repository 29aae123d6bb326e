"""A service of tests is told of every number, and of nothing that it would take for a pass."""

from pathlib import Path
from xml.etree import ElementTree as Xml

from bitlens.report.gating.junit import junit
from bitlens.results.gating.gate import GateOutcome, gate
from bitlens.results.gating.judging import JudgedRule
from tests.support.gate_stores import MEAN, gate_store, rule


def test_a_rule_is_a_suite_and_a_number_a_case(tmp_path: Path) -> None:
    """Failures fail, and what cannot be decided is an error, not skipped."""
    outcome = gate(gate_store(tmp_path / "run"), [rule(1.0), rule(MEAN), rule(0.01)])
    written = junit(outcome)
    assert written == junit(outcome)
    suites = Xml.fromstring(written).findall("testsuite")
    counts = [(s.get("tests"), s.get("errors"), s.get("failures")) for s in suites]
    assert counts == [("1", "0", "0"), ("1", "1", "0"), ("1", "0", "1")]
    assert [len(case) for suite in suites for case in suite] == [0, 1, 1]
    (failure,) = suites[2].findall("testcase/failure")
    assert failure.get("message") == "rtn:bits=4: 0.1000 nats [0.0952, 0.1048]"
    assert suites[2].find("testcase").get("name") == "rtn:bits=4"


def test_a_run_without_an_end_is_an_error() -> None:
    """One case a rule; names are text, whatever they hold."""
    name = 'a"<b>&\x00\n'
    outcome = GateOutcome((JudgedRule(rule=rule(1.0, metric=name), reason="un\x1bfinished"),), None)
    (suite,) = Xml.fromstring(junit(outcome))
    assert suite.get("name") == 'a"<b>&⟨U+0000⟩⟨U+000A⟩ at most 1'
    assert suite.find("testcase/error").get("message") == "un⟨U+001B⟩finished"
