"""How much is left, on one scale for all metrics: 1 is intact, 0 is what chance would give."""

from dataclasses import replace

from bitlens.records import Estimate


def share_kept(estimate: Estimate, intact: float | None, chance: float | None) -> Estimate:
    """What share of the way from chance to intact is left? (value - chance) / (intact - chance).

    1 where nothing changed, 0 at chance, below 0 where it is worse than chance. Chance is taken
    as known: its own uncertainty is not in the interval.
    """
    if estimate.value is None:
        return estimate
    if intact is None or chance is None or intact == chance:
        missing = "intact value" if intact is None else "chance value"
        reason = "intact equals chance" if intact == chance else f"there is no {missing}"
        return Estimate(None, None, None, estimate.documents, f"no share kept: {reason}")
    span = intact - chance
    kept = replace(estimate, value=(estimate.value - chance) / span)
    if estimate.low is None or estimate.high is None:
        return kept
    low, high = sorted(((estimate.low - chance) / span, (estimate.high - chance) / span))
    return replace(kept, low=low, high=high)
