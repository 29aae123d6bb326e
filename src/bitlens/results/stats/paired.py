"""Two models on the same questions: what flipped, by how much the score moved, how sure that is,
and how many questions it would take."""

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from bitlens.results.records import FEWEST
from bitlens.results.stats.intervals import LEVEL

Numbers = NDArray[np.float64]
Z = 1.959963984540054
"""The normal quantile that 95 % lie within."""
POWER = 0.8416212335729143
"""That of a power of 80 %."""
ROUNDING = 1e-6
"""A difference of scores that is as good as none."""
DEALT = 9_999
"""How often categories are dealt out anew."""
NUMBERS = 1 << 22
"""Numbers that are dealt out at a time."""


@dataclass(frozen=True)
class Bounds:
    """A number and the 95 % interval around it."""

    value: float
    low: float | None
    high: float | None


def mcnemar(lost: int, gained: int) -> float:
    """How likely are flips at least so one-sided where neither model is better? The exact test of
    McNemar (1947): the lost ones among all that flipped are binomial with one half. Nothing
    flipped: 1."""
    from scipy.stats import binomtest

    flipped = lost + gained
    return float(binomtest(lost, flipped, 0.5).pvalue) if flipped else 1.0


def paired_difference(reference: Numbers, twin: Numbers) -> Bounds:
    """How much does the mean score change, twin minus reference? One number a question each, the
    mean over its samples where it was asked several times: the question is the unit.

    Where scores are 0 or 1 the interval is the adjusted one of Agresti and Min (2005, Statistics in
    Medicine 24): half a question more in each cell of the table of right and wrong, so that no
    flips in a few questions are not taken for certainty. Other scores: Student's t over questions.
    No bounds below 20 questions, nor where scores that are shares never differ.
    """
    n, moved = len(reference), twin - reference
    value = float(moved.mean())
    if n < FEWEST:
        return Bounds(value, None, None)
    if np.isin(np.concatenate([reference, twin]), (0.0, 1.0)).all():
        lost, gained = int((moved < 0).sum()) + 0.5, int((moved > 0).sum()) + 0.5
        whole = n + 2
        middle = (gained - lost) / whole
        half = Z * sqrt(lost + gained - (gained - lost) ** 2 / whole) / whole
    else:
        from scipy.special import stdtrit

        middle = value
        half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * float(moved.std(ddof=1)) / sqrt(n)
        # Of equal shares rounding may leave a spread of 1e-17.
        if half < ROUNDING:
            return Bounds(value, None, None)
    # An interval holds its value, which half a question more can leave at its edge.
    return Bounds(value, max(-1.0, min(middle - half, value)), min(1.0, max(middle + half, value)))


def flip_rate(n: int, lost: int, gained: int) -> float:
    """The share of questions that flip, half a question more in each cell: of few questions none
    may have flipped, and some would."""
    return (lost + gained + 1) / (n + 2)


def detectable(n: int, rate: float) -> float:
    """The smallest difference of scores that so many questions show with a power of 80 % at the
    5 % level, where this share of them flips: (1.96 + 0.84) sqrt(rate / n) (Connor 1987). Each that
    moves the score is a flip, so that it is never below (1.96 + 0.84)² / n; 1 at most. What
    `needed` turns around."""
    return min(1.0, max((Z + POWER) * sqrt(rate / n), (Z + POWER) ** 2 / n))


def needed(difference: float, rate: float) -> int | None:
    """How many questions it takes to show this difference, where this share of them flips; the
    rate is at least the difference, because each that moves the score is a flip. None of a
    difference below a millionth: that of scores that are shares may be what rounding leaves."""
    if abs(difference) < ROUNDING:
        return None
    return ceil((Z + POWER) ** 2 * max(rate, abs(difference)) / difference**2)


def share(right: float, n: int) -> Bounds:
    """A share of right answers with Wilson's interval (1927)."""
    p = right / n
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return Bounds(p, max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p)))


def recovered(reference: Numbers, twin: Numbers, chance: float) -> Bounds | None:
    """What is left of the reference's score above chance: (twin - chance) / (reference - chance).

    1 intact, 0 where the twin guesses. By linearisation over questions: both scores are of the
    same ones; never narrower than the interval of their difference, which is not taken for sure
    where nothing flipped. None where the reference itself is not surely above chance.
    """
    n = len(reference)
    if n < FEWEST or (share(float(reference.sum()), n).low or 0.0) <= chance:
        return None
    above = float(reference.mean()) - chance
    value = (float(twin.mean()) - chance) / above
    residual = (twin - chance) - value * (reference - chance)
    moved = paired_difference(reference, twin)
    apart = 0.0 if moved.low is None or moved.high is None else (moved.high - moved.low) / 2
    half = max(Z * float(residual.std(ddof=1)) / sqrt(n), apart) / above
    return Bounds(value, value - half, value + half)


def structure(moved: Numbers, category: NDArray[np.int64], seed: int = 0) -> float | None:
    """How likely are losses so unequal over categories where the category does not matter?

    `moved`: twin minus reference, one a question. The statistic is the sum of squares between the
    means of categories; categories are dealt out anew 9,999 times (Fisher 1935; Phipson and Smyth
    2010, whose count is never 0). None of fewer than two categories.
    """
    found, of = np.unique(category, return_inverse=True)
    if len(found) < 2:
        return None
    sizes = np.bincount(of)
    random = np.random.default_rng(seed)
    seen = _between(moved[None], of, sizes)[0]
    rows = max(1, min(DEALT, NUMBERS // len(moved)))
    dealt = np.concatenate(
        [
            _between(random.permuted(np.tile(moved, (count, 1)), axis=1), of, sizes)
            for count in np.diff([*range(0, DEALT, rows), DEALT]).tolist()
        ]
    )
    # What rounding makes of equal sums is no difference.
    return float((1 + (dealt >= seen - 1e-9).sum()) / (1 + len(dealt)))


def _between(moved: Numbers, of: NDArray[np.int64], sizes: NDArray[np.int64]) -> Numbers:
    """`[rows]`: the sum of squares between categories of each row of `[rows, questions]`."""
    member = np.zeros((len(of), len(sizes)))
    member[np.arange(len(of)), of] = 1.0
    means = (moved @ member) / sizes
    total: Numbers = (sizes * (means - moved.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return total
