"""Scores: how much of each family of measures is left in a twin, 1 where intact and 0 by chance."""

from dataclasses import dataclass

from bitlens.report.audit_results import AuditResults
from bitlens.report.registration import Framed, MeasureFamily, families


@dataclass(frozen=True, kw_only=True)
class FamilyScore:
    """A family's number of a twin on the way from chance, 0, to intact, 1; it may lie beyond."""

    value: float
    low: float | None
    """None where the number has no interval."""
    high: float | None
    of: Framed
    """The number itself: of several, the one with the lowest score."""


def score(of: Framed) -> FamilyScore:
    """A number that lies between chance and intact as a share of that way. ValueError where there
    is no way between the two."""
    way = of.intact - of.chance
    if way == 0:
        raise ValueError(f"chance and intact are both {of.chance}")
    ends = [of.row[end] for end in ("low", "high")]
    known = sorted((end - of.chance) / way for end in ends if end is not None)
    low, high = known if len(known) == 2 else (None, None)
    return FamilyScore(value=(of.row["value"] - of.chance) / way, low=low, high=high, of=of)


def scores(
    results: AuditResults, model: str, who: str
) -> list[tuple[MeasureFamily, FamilyScore | None]]:
    """Every family in its order; None where this twin has no number of it."""
    found = []
    for entry in families():
        mine = [score(one) for one in entry.read(results, model, who) if one.intact != one.chance]
        found.append((entry, min(mine, key=lambda one: one.value, default=None)))
    return found
