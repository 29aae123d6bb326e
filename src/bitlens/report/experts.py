"""A mixture's experts and routers in a store: their errors by place, and which stand out."""

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.text.differences import above, below
from bitlens.report.text.extremes import apart

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
    """The one expert that is surely lost while all others are not, its error and the next one's;
    None where no single one stands out, also of noise and the cast."""
    order = sorted(expert_rows(results, model, twin).items(), key=lambda one: -one[1]["value"])
    if len(order) < 2:
        return None
    (place, row), (_, following) = order[:2]
    if not above(row, LOST) or row["value"] < STANDS_OUT * following["value"]:
        return None
    if not _beyond_controls(results, row):
        return None
    return place, row, following["value"]


def damaged_router(results: AuditResults, model: str, twin: str) -> tuple[int, Row] | None:
    """The block whose router itself, on the reference's input, surely sends over a hundredth of
    the choices elsewhere, and another share than noise and the cast do; the worst of several; None
    where no router's own weights do."""
    rows = results.depth(model, twin, "routing.agreement", kind="router", item="local")
    sure = [one for one in rows if below(one[1], SAME) and _beyond_controls(results, one[1])]
    return min(sure, key=lambda one: one[1]["value"], default=None)


def _beyond_controls(results: AuditResults, row: Row) -> bool:
    """Does a number's interval leave alone those of weight noise of the same size and of the cast,
    where these were measured?"""
    model, twin = row["model"], row["compression"]
    place = {"site": row["site"], "item": row["item"]}
    controls = {results.noise(model, twin), results.cast(model)} - {None, twin}
    metric = f"{row['analysis']}.{row['metric']}"
    others = (results.find(model, str(who), metric, **place) for who in controls)
    return all(apart(row, other) for other in others if other is not None)
