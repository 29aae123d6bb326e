"""Means over all pairs of seeds, and how sure they are. The unit is the seed: a pair shares
its seeds with other pairs, so pairs are not independent of each other."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bitlens.results.stats.intervals import student
from bitlens.sae.alignment.over_pairs import OverPairs

Crossed = Mapping[tuple[int, ...], float]
"""A number for every seed, or for every pair of seeds."""


def mean(numbers: Crossed) -> OverPairs:
    """The mean over all there are, and its 95 % interval over seeds.

    By delete-a-seed jackknife and Student's t: without a seed all its pairs are gone (Arvesen 1969,
    of U-statistics); the variance is, if anything, too large (Efron and Stein 1981).
    """
    return over_seeds([numbers], lambda means: means[0], "")


def normalised(value: Crossed, chance: Crossed, ceiling: Crossed) -> OverPairs:
    """Where does a mean stand between chance 0 and ceiling 1? Its interval likewise."""
    reason = "the ceiling is not above chance"
    return over_seeds([value, chance, ceiling], between, reason)


def ratio(first: Crossed, second: Crossed) -> OverPairs:
    """How many times as large is the first mean? Over the seeds that both have."""
    return over_seeds([first, second], quotient, "the second is not above zero")


def ratio_normalised(first: Sequence[Crossed], second: Sequence[Crossed]) -> OverPairs:
    """The ratio of two normalised numbers, each given as value, chance and ceiling."""

    def of(means: Sequence[float]) -> float | None:
        parts = [between(means[:3]), between(means[3:])]
        return None if None in parts else quotient([part for part in parts if part is not None])

    return over_seeds([*first, *second], of, "one of the two has no normalised number above zero")


def between(means: Sequence[float]) -> float | None:
    """Where a value lies between chance and ceiling, given in this order."""
    value, chance, ceiling = means
    return (value - chance) / (ceiling - chance) if ceiling - chance > 1e-6 else None


def quotient(means: Sequence[float]) -> float | None:
    """None where the second is not above zero."""
    return means[0] / means[1] if means[1] > 1e-6 else None


def over_seeds(
    columns: Sequence[Crossed], statistic: Callable[[Sequence[float]], float | None], reason: str
) -> OverPairs:
    """A statistic of the columns' means; `reason`: why it may have no value."""
    seeds = sorted(set.intersection(*(_seeds(column) for column in columns)))
    whole = _of(columns, seeds, statistic)
    if whole is None:
        few = f"{_said(seeds)}: pairs take at least 2"
        return OverPairs(value=None, reason=few if len(seeds) < 2 else reason)
    replicates = [
        _of(columns, [kept for kept in seeds if kept != left], statistic) for left in seeds
    ]
    known = [replicate for replicate in replicates if replicate is not None]
    if len(known) < max(2, len(seeds)):
        why = f"no interval: {_said(seeds)}, and without one of them there is no value"
        return OverPairs(value=whole, pairs=len(seeds), reason=why)
    low, high = student(whole, np.array(known)).tolist()
    return OverPairs(value=whole, low=low, high=high, pairs=len(seeds))


def _said(seeds: Sequence[int]) -> str:
    return f"there {'is 1 seed' if len(seeds) == 1 else f'are {len(seeds)} seeds'}"


def _seeds(column: Crossed) -> set[int]:
    return {seed for key in column for seed in key}


def _of(
    columns: Sequence[Crossed],
    seeds: Sequence[int],
    statistic: Callable[[Sequence[float]], float | None],
) -> float | None:
    """The statistic of what is left of every column when only these seeds are."""
    left = [[value for key, value in c.items() if set(key) <= set(seeds)] for c in columns]
    return statistic([float(np.mean(values)) for values in left]) if all(left) else None
