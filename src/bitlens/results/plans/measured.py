"""The file of a plan that was audited: what it promised, what it does, and what it was held
against."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from bitlens.results.files.names import inside
from bitlens.results.files.writing import write
from bitlens.results.json_files import AGAIN, damaged, json_bytes, mended, read_json
from bitlens.results.manifest_schema import Content, Tool, Versioned
from bitlens.results.records import SCHEMA, Estimate
from bitlens.results.sensitivity.measures import MEASURES

NAME = "plan.json"
PLAN = "the plan"
"""The name of the one that is proposed among those it was held against."""
ALONE, SCALED, BOTH = "effects alone", "effects alone, scaled", "effects both ways"
"""The names of plans of least measured effect, by what is taken for the effect of a unit: alone;
that, scaled to what the whole does; the mean of alone and of what leaving it out saves."""


class Candidate(Content):
    """A plan that was audited: the proposed one, or one it was held against."""

    name: str
    """`the plan`, `effects alone`, `uniform rtn:bits=4`, `random 1`, `by sqnr`."""
    compression: str
    """As audit and compress take it."""
    bits: float
    """Bits per weight."""
    promised: float | None
    """The sum of the effects it was made by; None where measured ones were not the ground."""
    measured: Estimate
    more: Estimate | None
    """How much more it does than the proposed plan, paired by documents; None of that itself."""


class TriedSwap(Content):
    """A unit that was raised and another that was lowered, and what that does."""

    start: str = ALONE
    """The candidate that was improved."""
    round: Annotated[int, Field(ge=1)]
    raised: str
    raised_to: str
    lowered: str
    lowered_to: str
    more: Estimate
    """How much more the plan does after it, paired by documents."""
    taken: bool


class PlannedFormat(Content):
    """What a unit gets."""

    unit: str
    format: str
    bits: float
    weights: int


class PlanFragment(Content):
    """A text to paste into another tool."""

    tool: str
    file: str
    text: str


class PlanFile(Versioned):
    """A plan and what came of it."""

    tool: Tool
    key: str
    """Of the sensitivity run that it was made of."""
    model: str
    measure: str
    budget: float
    text: str
    """What it was audited on."""
    documents: int
    units: tuple[PlannedFormat, ...]
    start: str = ALONE
    """The candidate that the plan is, or was before its swaps."""
    candidates: Annotated[tuple[Candidate, ...], Field(min_length=1)]
    swaps: tuple[TriedSwap, ...]
    fragments: tuple[PlanFragment, ...]
    """The plan for other tools; the first line of each says what that tool cannot."""
    notes: tuple[str, ...]


def write_measured(folder: Path, content: dict[str, Any]) -> None:
    """Write it into a folder; the schema is added."""
    path = inside(folder, NAME)
    write(path, json_bytes(PlanFile, {"schema": SCHEMA, **content}, path))


def read_measured(folder: Path) -> dict[str, Any]:
    """`PlanFile`. BitlensError where there is none, and for one that is damaged."""
    path = inside(folder, NAME)
    plan = read_json(PlanFile, path, mended(path, AGAIN))
    if plan["measure"] not in MEASURES:
        raise damaged(path, f"{plan['measure']!r} is no measure", mended(path, AGAIN))
    first, *others = plan["candidates"]
    if first["more"] is not None or any(one["more"] is None for one in others):
        raise damaged(path, "its first plan is not the one proposed", mended(path, AGAIN))
    return plan
