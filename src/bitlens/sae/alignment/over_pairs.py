"""Means over pairs of SAEs, and how sure they are. The unit is the pair: latents of one SAE are not
independent of each other, seeds are."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from bitlens.results.stats.intervals import student

Apart = Sequence[frozenset[Hashable]]
"""What went into each pair."""


@dataclass(frozen=True, kw_only=True)
class OverPairs:
    """A number over pairs of SAEs, or a reason for what it lacks."""

    value: float | None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    reason: str | None = None
    """Why there is no value, or no interval."""


def mean(values: Sequence[float], members: Apart) -> OverPairs:
    """The mean and its 95 % interval by Student's t over pairs."""
    return _jackknife(lambda means: float(means[0]), np.array([values]), members)


def normalised(numbers: np.ndarray, members: Apart) -> OverPairs:
    """Where does the mean stand between chance 0 and ceiling 1?

    `numbers`: `[3, pairs]`, values, chance and ceilings. (value - chance) / (ceiling - chance) of
    the three means; its interval by delete-a-pair jackknife and Student's t.
    """
    return _jackknife(_between, numbers, members)


def _between(means: np.ndarray) -> float | None:
    value, chance, ceiling = means.tolist()
    return (value - chance) / (ceiling - chance) if ceiling - chance > 1e-6 else None


def _jackknife(
    statistic: Callable[[np.ndarray], float | None], columns: np.ndarray, members: Apart
) -> OverPairs:
    """`columns`: `[numbers, pairs]`; `statistic` of their means."""
    pairs = columns.shape[1]
    whole = statistic(columns.mean(axis=1))
    if whole is None:
        return OverPairs(value=None, pairs=pairs, reason="the ceiling is not above chance")
    if pairs == 1:
        reason = "no interval: there is 1 pair; it takes SAEs trained from at least 2 seeds"
        return OverPairs(value=whole, pairs=1, reason=reason)
    if len(frozenset().union(*members)) < sum(map(len, members)):
        reason = "no interval: an SAE is in more than one of the pairs, so they are not independent"
        return OverPairs(value=whole, pairs=pairs, reason=reason)
    replicates = [statistic(np.delete(columns, n, axis=1).mean(axis=1)) for n in range(pairs)]
    known = [replicate for replicate in replicates if replicate is not None]
    if len(known) < pairs:
        reason = "no interval: without one of the pairs the ceiling is not above chance"
        return OverPairs(value=whole, pairs=pairs, reason=reason)
    low, high = student(whole, np.array(known)).tolist()
    return OverPairs(value=whole, low=low, high=high, pairs=pairs)
