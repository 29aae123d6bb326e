"""What is said first is sure, is more than noise does, and does not rest on a failed check."""

from dataclasses import replace

from bitlens.report.audit_results import AuditResults
from bitlens.report.findings.ranking import FIRST, beyond_noise, findings, first
from bitlens.report.registration import Finding
from bitlens.results.records import TEXT, Check


def test_the_weightiest_come_first(deep: AuditResults) -> None:
    """In falling order."""
    weights = [one.weight for one in findings(deep, "demo")]
    assert weights
    assert weights == sorted(weights, reverse=True)


def test_what_rests_on_a_failed_check_is_no_finding(deep: AuditResults) -> None:
    """Of a text that the reference cannot read nothing about the text is said."""
    bad = Check("reads the text", False, "it cannot.", bears_on=TEXT, model="demo")
    doubtful = replace(deep, manifest={**deep.manifest, "checks": [vars(bad)]})
    assert any(TEXT in one.uses for one in findings(deep, "demo"))
    assert not any(TEXT in one.uses for one in findings(doubtful, "demo"))


def test_the_first_screen_holds_a_few_that_weigh_enough() -> None:
    """The others stand in a fold; none is lost."""
    many = [Finding(title=str(i), text="", anchor="", weight=0.9, twins=()) for i in range(8)]
    light = Finding(title="light", text="", anchor="", weight=0.2, twins=())
    shown, others = first([*many, light])
    assert len(shown) == FIRST
    assert light in others
    assert len(others) == 3
    assert first([light]) == ([], [light])


def test_without_noise_it_is_said_that_none_was_run(deep: AuditResults) -> None:
    """And the damage counts."""
    row = deep.find("demo", "rtn:bits=4,group=64", "behaviour.kl")
    assert row is not None
    alone = replace(deep, contrasts=[])
    found = beyond_noise(alone, "demo", "rtn:bits=4,group=64", row)
    assert found.is_more
    assert found.told == " (no noise of the same size was run)"
