"""The first screen names the measure, the block and the head that are hit hardest."""

from dataclasses import replace

from bitlens.report.audit_results import AuditResults
from bitlens.report.worst import least, left, worst
from tests.support.audit_stores import RTN


def test_the_measure_with_least_left_leads_to_its_section(deep: AuditResults) -> None:
    """It is the darkest cell of the overview."""
    found = least(deep, "demo", RTN)
    assert found is not None
    entry, one = found
    first = worst(deep, "demo", RTN)[0]
    assert first.target == entry.section
    assert first.text.endswith(f": {left(one)} left")


def test_the_worst_block_and_head_have_an_address(deep: AuditResults) -> None:
    """Of made errors of 12 and 34 per cent the head with 34 is named."""
    rows = [row for row in deep.estimates if row["metric"] != "head_error"]
    place = {**rows[0], "compression": RTN, "analysis": "geometry", "metric": "head_error"}
    rows += [
        {**place, "site": "heads.1", "item": "head 2, local", "value": 0.12, "seed": 0},
        {**place, "site": "heads.3", "item": "head 0, local", "value": 0.34, "seed": 0},
        {**place, "site": "heads.0", "item": "head 1, cumulative", "value": 0.99, "seed": 0},
    ]
    found = {one.title: one for one in worst(replace(deep, estimates=rows), "demo", RTN)}
    assert found["Worst head"].text == "head 3.0: 34 % of what it writes is wrong"
    assert found["Worst head"].target == "layer=3&head=0"
    assert found["Worst block"].target.startswith("layer=")


def test_of_several_models_an_address_names_its_own(study: AuditResults) -> None:
    """A model's block is not the other's."""
    for model in study.models:
        (block,) = (one for one in worst(study, model, RTN) if one.title == "Worst block")
        assert block.target.startswith("model=")
