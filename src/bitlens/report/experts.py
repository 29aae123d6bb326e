"""A mixture's experts and routers in a store: their errors by place, and which stand out."""

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.text.differences import above, below

Place = tuple[int, int]
"""Block and expert, both from 0."""
STANDS_OUT = 2.0
"""An expert is named alone where its error is at least so many times the next one's."""
LOST = 0.5
"""And where what it adds is off by at least so much."""
SAME = 0.99
"""A router that surely agrees on less, on equal input, was touched by more than a cast."""


def named(place: Place) -> str:
    """`1.3`: expert 3 of block 1."""
    return f"{place[0]}.{place[1]}"


def expert_rows(results: AuditResults, model: str, twin: str) -> dict[Place, Row]:
    """The error of what each expert adds, in the order of blocks and experts."""
    found = {}
    for row in results.everywhere(model, twin, "routing.expert_error"):
        block = int(row["site"].partition(".")[2])
        expert = int(row["item"].removeprefix("expert ").partition(",")[0])
        found[(block, expert)] = row
    return dict(sorted(found.items()))


def damaged_expert(results: AuditResults, model: str, twin: str) -> tuple[Place, Row, float] | None:
    """The one expert that is lost while all others are not, its error and the next one's; None
    where no single one stands out."""
    order = sorted(expert_rows(results, model, twin).items(), key=lambda one: -one[1]["value"])
    if len(order) < 2:
        return None
    (place, row), (_, following) = order[:2]
    known = above(row, LOST) or (row["low"] is None and row["value"] > LOST)
    if not known or row["value"] < STANDS_OUT * following["value"]:
        return None
    return place, row, following["value"]


def damaged_router(results: AuditResults, model: str, twin: str) -> tuple[int, Row] | None:
    """The block whose router itself, on the reference's input, surely sends over a hundredth of
    the choices elsewhere; the worst of several; None where no router's own weights do."""
    rows = results.depth(model, twin, "routing.agreement", kind="router", item="local")
    sure = [(block, row) for block, row in rows if below(row, SAME) or _alone_below(row)]
    return min(sure, key=lambda one: one[1]["value"], default=None)


def _alone_below(row: Row) -> bool:
    """Of too few documents for an interval, but below all the same."""
    return row["low"] is None and row["value"] < SAME
