"""What came of a gate as JUnit XML: a suite a rule, a case a number."""

from xml.etree import ElementTree as Xml

from bitlens.errors import in_one_line
from bitlens.report.gating.told import GateWords
from bitlens.results.gating.gate import GateOutcome
from bitlens.results.gating.judging import JudgedRule

KINDS = {"fail": "failure", "undecided": "error"}
"""What a case holds that does not pass. JUnit has no word for what cannot be decided; `skipped`
would be shown as if nothing were wrong."""


def junit(outcome: GateOutcome) -> bytes:
    """The XML, the same for the same outcome: no date, no seconds."""
    words = GateWords(outcome.manifest)
    root = Xml.Element("testsuites", name="bitlens gate")
    for judged in outcome.found:
        root.append(_suite(judged, words))
    Xml.indent(root)
    content: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _suite(judged: JudgedRule, words: GateWords) -> Xml.Element:
    name = words.rule(judged)
    verdicts = [one.verdict for one in judged.numbers] or [judged.verdict]
    suite = Xml.Element(
        "testsuite",
        name=name,
        tests=str(len(verdicts)),
        failures=str(verdicts.count("fail")),
        errors=str(verdicts.count("undecided")),
    )
    if not judged.numbers:
        case = Xml.SubElement(suite, "testcase", classname=name, name="the run")
        _not_passed(case, "undecided", judged.reason)
    for one in judged.numbers:
        case = Xml.SubElement(suite, "testcase", classname=name, name=words.where(one.row))
        if one.verdict != "pass":
            _not_passed(case, one.verdict, words.number(judged.rule, one))
    return suite


def _not_passed(case: Xml.Element, verdict: str, told: str) -> None:
    Xml.SubElement(case, KINDS[verdict], type=verdict, message=in_one_line(told))
