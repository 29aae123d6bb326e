"""What the page says of circuits, of a store whose numbers are given."""

from dataclasses import replace
from typing import Any

from bitlens.report.audit_results import AuditResults
from bitlens.report.sections.causal import _found
from bitlens.report.text.circuits import carrier, tasks_kept, tasks_of
from tests.support.audit_stores import RTN, against_the_reference, with_rows

TASK: dict[str, Any] = {
    **{"task": "copying", "pairs": 40, "unit": "logits", "positions": "all", "example": "a b|c"},
    **{"circuit": ["mlp 0"], "reason": None, "note": ""},
}


def node(name: str, repaired: float, least: float) -> dict[str, Any]:
    """What it repairs, and from how much on."""
    return {
        **{"task": "copying", "node": name, "head": -1, "lost": False, "repaired": repaired},
        **{"repaired_low": least, "repaired_high": 2 * repaired - least},
    }


def store(audit: AuditResults, *nodes: dict[str, Any], q: float = 0.002) -> AuditResults:
    """The store, with the task copying of which the twin keeps 72 %."""
    found = with_rows(audit, causal__gap_kept____copying=(0.72, 0.65, 0.79))
    row = next(row for row in found.estimates if row["metric"] == "gap_kept")
    row["intact"] = 1.0
    told = against_the_reference(row, q=q)
    found = replace(found, contrasts=[*found.contrasts, told])
    for twin in found.measured("demo"):
        found._tables["demo", twin.compression, "causal", "circuit_tasks"] = [TASK]
        found._tables["demo", twin.compression, "causal", "circuit_nodes"] = []
    found._tables["demo", RTN, "causal", "circuit_nodes"] = list(nodes)
    return found


def test_what_repairs_most_has_its_share_and_an_interval(results: AuditResults) -> None:
    """Of those that surely repair something: one of a larger share that may be none is not it."""
    found = store(results, node("mlp 3", 0.53, 0.4), node("mlp 0", 0.6, -0.1))
    told = "mlp 3 alone repairs 53 % [40, 66] of it"
    assert carrier(found, "demo", RTN, "copying") == told
    [said] = tasks_kept(found, "demo", RTN)
    assert told in str(said)
    assert not carrier(store(results, node("mlp 0", 0.6, -0.1)), "demo", RTN, "copying")


def test_the_section_opens_by_the_stored_contrast(results: AuditResults) -> None:
    """As the verdict does: with a q that is too large nothing is lost, wherever the interval is;
    else the share is said."""
    for q, said in (
        (0.3, "No twin surely does a task less well than the reference"),
        (0.002, f"{RTN} keeps 72.0 % [65.0, 79.0] of the gap of copying"),
    ):
        found = store(results, q=q)
        [opening] = _found(found, "demo", tasks_of(found, "demo"))
        assert opening.text == said
