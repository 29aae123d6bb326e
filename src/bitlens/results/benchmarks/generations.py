"""What models wrote, and how far a twin's text goes along with the reference's: pure counting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, comb, inf

import numpy as np

from bitlens.results.records import FEWEST
from bitlens.results.stats.paired import Bounds, share

OUTSIDE = 0.025
"""Of a distribution, what lies beyond either end of a 95 % interval."""


ENDINGS = ("stop", "end", "budget")


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What one model wrote for one question."""

    model: str
    compression: str
    """`reference` for the model as given."""
    benchmark: str
    task: str
    doc: int
    asked: str
    """The end of what it was to go on from."""
    text: str
    """Up to the first stop string."""
    tokens: int
    """All it chose, that which ended it included."""
    ended: str
    """`stop` (at a stop string), `end` (with the token that ends a text), `budget` (cut off)."""
    shared: int | None = None
    """Tokens before the first that the reference did not choose; None: all are the same, or it is
    the reference."""
    before: str = ""
    """The text of those."""
    token: str = ""
    """That of the first that differs."""
    reference_token: str = ""
    """What the reference chose there."""
    ran: str | None = None
    """Of code: how running it ended, `passed` or why not; None where nothing was run."""


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """How the texts of a twin part from the reference's, over the samples of a benchmark."""

    samples: int
    same: Bounds
    """The share of texts that are the same token by token; intact 1."""
    parted: Bounds | None
    """Tokens until the first difference: the median over samples, same texts counted as never. None
    where half of them or more never part. A bound of infinity: never."""
    tokens: tuple[float, float]
    """Mean length in tokens, the reference's and the twin's."""
    longer: Bounds
    """Twin minus reference, in tokens a sample; intact 0."""
    cut: tuple[int, int]
    """Samples that did not come to an end within the budget, the reference's and the twin's."""


def divergence(reference: Sequence[Generation], twin: Sequence[Generation]) -> Divergence:
    """Samples are paired by task and question. The interval of the median is the exact one of order
    statistics, that of the share of same texts Wilson's, that of the length Student's t; none below
    20 samples."""
    before = {(one.task, one.doc): one for one in reference}
    pairs = [(before[one.task, one.doc], one) for one in twin if (one.task, one.doc) in before]
    lengths = np.array([(a.tokens, b.tokens) for a, b in pairs], dtype=np.float64)
    shared = [inf if b.shared is None else float(b.shared) for _, b in pairs]
    n, same = len(pairs), sum(one == inf for one in shared)
    wilson = share(float(same), n)
    few = n < FEWEST
    return Divergence(
        samples=n,
        same=Bounds(wilson.value, None, None) if few else wilson,
        parted=median(shared),
        tokens=(float(lengths[:, 0].mean()), float(lengths[:, 1].mean())),
        longer=_mean(lengths[:, 1] - lengths[:, 0]),
        cut=(
            sum(a.ended == "budget" for a, _ in pairs),
            sum(b.ended == "budget" for _, b in pairs),
        ),
    )


def median(values: Sequence[float]) -> Bounds | None:
    """The median with its exact interval: the k-th smallest and the k-th largest value, k the
    largest for which a binomial of one half lies below it with 2.5 % at most (Thompson 1936). No
    bounds below 20 values; None where the median is infinite."""
    ordered, n = sorted(values), len(values)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    if middle == inf:
        return None
    if n < FEWEST:
        return Bounds(middle, None, None)
    # 2.5 % is one in 40: of whole numbers, because 2**n is no float from 1,024 samples on.
    below, k = 1, 0
    while 40 * below <= 2**n:
        k += 1
        below += comb(n, k)
    return Bounds(middle, ordered[k - 1], ordered[n - k])


def quantile(twin: Sequence[Generation], part: float) -> float:
    """The number of tokens by which this part of the texts has left the reference's: the smallest
    that so many do not exceed; infinity where they never do."""
    ordered = sorted(inf if one.shared is None else float(one.shared) for one in twin)
    return ordered[max(0, ceil(part * len(ordered)) - 1)]


def _mean(values: np.ndarray) -> Bounds:
    value, n = float(values.mean()), len(values)
    if n < FEWEST:
        return Bounds(value, None, None)
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 1 - OUTSIDE)) * float(values.std(ddof=1)) / n**0.5
    return Bounds(value, value - half, value + half)


def endings(
    generations: Sequence[Generation], right: Mapping[tuple[str, int], bool]
) -> dict[str, int]:
    """How many samples were `right`; were `wrong` though they came to an end; and were `cut off`
    by the budget before they were right. `right`: by task and question."""
    found = {"right": 0, "wrong": 0, "cut off": 0}
    for one in generations:
        score = right[one.task, one.doc]
        found["right" if score else "cut off" if one.ended == "budget" else "wrong"] += 1
    return found


def first_difference(reference: Sequence[int], twin: Sequence[int]) -> int | None:
    """The number of tokens before the first that differs, or before the end of the shorter; None
    where both are the same."""
    n = min(len(reference), len(twin))
    differing = np.flatnonzero(np.array(reference[:n]) != np.array(twin[:n]))
    if len(differing):
        return int(differing[0])
    return None if len(reference) == len(twin) else n
