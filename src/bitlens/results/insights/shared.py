"""Losses that two twins share: more than chance, and less than their numbers allow?"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from bitlens.results.insights.measured import SaeFeatures, TwinFeatures
from bitlens.results.stats.intervals import middle
from bitlens.seeds import generator

THRESHOLDS = (0.9, 0.7, 0.5)
"""A feature is lost where its r is at most this; 0.9 and 0.5 are the paper's."""
DRAWS = 1000

Sums = Callable[..., np.ndarray]
"""The sums of columns `[features]` in every draw, `[columns, draws]`; the value itself first."""


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval over features."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class SharedLosses:
    """The features that each of two twins loses at one threshold."""

    threshold: float
    first: float
    """Share of the features that are lost in the one, and below in the other."""
    second: float
    jaccard: Interval
    """Lost in both, over lost in either."""
    chance: float
    """Jaccard if the one loss told nothing of the other: p1 p2 / (p1 + p2 - p1 p2)."""
    ceiling: float
    """Jaccard if the smaller set lay within the larger: min / max."""
    phi: Interval | None
    """Correlation of the two losses; None where one twin loses everything."""
    crossed: float | None
    """Jaccard of one twin's set on one half of the documents with the other's on the other half,
    mean of both ways: what luck of the text adds to both alike is gone."""
    itself: float | None
    """Jaccard of each twin's set on one half with its own on the other, which is what other
    documents alone do; mean of the two."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What two twins of one model, read through one SAE, have in common."""

    first: TwinFeatures
    second: TwinFeatures
    features: int
    spearman: Interval | None
    """Rank correlation of damage, 1 - r; None where one twin damages every feature alike."""
    overlaps: tuple[SharedLosses, ...]
    """By threshold; without those at which one of the two loses nothing."""

    @property
    def own_noise(self) -> bool:
        """Whether it is a compression beside its own noise."""
        a, b = self.first, self.second
        return a.like == b.compression or b.like == a.compression


def pairs(of: SaeFeatures) -> Iterator[Shared]:
    """Every two twins at one seed, and two draws of the same noise at different seeds, where both
    were read on the same text. Not two noise controls of one seed: they are one draw at two sizes,
    and would share damage for that alone."""
    for a, b in combinations(of.twins, 2):
        draws = a.like is not None and b.like is not None
        apart = a.seed != b.seed and a.compression == b.compression
        if (apart if draws else a.seed == b.seed) and _same_text(a, b):
            yield shared(a, b)


def foremost(known: Sequence[Shared]) -> list[Shared]:
    """Two compressions, or a compression and its noise, at the first seed."""
    first = min((pair.first.seed for pair in known), default=0)
    return [
        pair
        for pair in known
        if pair.first.seed == pair.second.seed == first
        and (pair.own_noise or not (pair.first.control or pair.second.control))
    ]


def with_noise(pair: Shared, known: Sequence[Shared], threshold: float) -> list[Interval]:
    """What each of two compressions shares with noise of the other's size, which is independent
    of it; of a compression and its noise, what two draws of that noise share."""
    a, b = pair.first, pair.second
    noise = {
        (twin.like, twin.seed): twin.compression
        for other in known
        for twin in (other.first, other.second)
        if twin.like is not None
    }
    if pair.own_noise:
        name = a.compression if a.like else b.compression
        wanted = [{(name, a.seed), (name, seed)} for _, seed in noise if seed != a.seed][:1]
    else:
        wanted = [
            {(one.compression, one.seed), (noise.get((other.compression, one.seed), ""), one.seed)}
            for one, other in ((a, b), (b, a))
        ]
    return [
        overlap.jaccard
        for names in wanted
        for other in known
        if {(t.compression, t.seed) for t in (other.first, other.second)} == names
        for overlap in other.overlaps
        if overlap.threshold == threshold
    ]


def _same_text(a: TwinFeatures, b: TwinFeatures) -> bool:
    """What the reference does on it is the same then, feature by feature, but for rounding."""
    x, y = a.features, b.features
    exact = all(np.array_equal(x[name], y[name]) for name in ("latent", "rate_reference"))
    return exact and np.allclose(x["mean_reference"], y["mean_reference"], rtol=1e-5, atol=0)


def shared(a: TwinFeatures, b: TwinFeatures, seed: int = 0) -> Shared:
    """How much of the damage is common?

    Intervals are percentiles of 1,000 bootstrap draws of features, near-duplicates (where the
    halves say which) drawn together: another set of such features. Other documents, which are
    the sampling unit elsewhere, cannot be drawn from a table of features; `crossed` and `itself`
    show what they do. Ranks of Spearman's correlation are those of all features in every draw.
    """
    x, y = a.features["r"], b.features["r"]
    group = a.halves["group"] if a.halves else np.arange(len(x))
    group = np.unique(group, return_inverse=True)[1]
    count = int(group.max()) + 1
    weights = _weights(count, seed)

    def sums(*columns: np.ndarray) -> np.ndarray:
        """`[columns, draws]`."""
        by_group = [np.bincount(group, column, minlength=count) for column in columns]
        return np.asarray((weights @ np.stack(by_group, axis=1)).T)

    ranks = [_ranks(1 - r) - (len(x) + 1) / 2 for r in (x, y)]
    overlaps = (_overlap(a, b, threshold, sums) for threshold in THRESHOLDS)
    return Shared(
        first=a,
        second=b,
        features=len(x),
        spearman=_interval(_correlation(sums, *ranks)),
        overlaps=tuple(found for found in overlaps if found),
    )


@lru_cache(maxsize=1)
def _weights(count: int, seed: int) -> np.ndarray:
    """`[1 + draws, count]`: how often each group is drawn, after one of each. All pairs of an SAE
    have as many groups, and so the same draws."""
    random = generator(seed, "shared damage")
    drawn = random.multinomial(count, np.full(count, 1 / count), size=DRAWS)
    return np.concatenate([np.ones((1, count)), drawn])


def _ranks(values: np.ndarray) -> np.ndarray:
    """From 1; of equal values the mean of their places. (scipy.stats takes a second to load.)"""
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(times) - (times - 1) / 2)[place])


def _overlap(a: TwinFeatures, b: TwinFeatures, threshold: float, sums: Sums) -> SharedLosses | None:
    first, second = (t.features["r"] <= threshold for t in (a, b))
    if not first.any() or not second.any():
        return None
    both, either = sums(first & second, first | second)
    p, q = float(first.mean()), float(second.mean())
    found = _interval(np.divide(both, either, np.full_like(both, math.nan), where=either > 0))
    assert found is not None
    return SharedLosses(
        threshold=threshold,
        first=p,
        second=q,
        jaccard=found,
        chance=p * q / (p + q - p * q),
        ceiling=min(p, q) / max(p, q),
        phi=_interval(_correlation(sums, first, second)),
        crossed=_crossed([(a, b), (b, a)], threshold),
        itself=_crossed([(a, a), (b, b)], threshold),
    )


def _correlation(sums: Sums, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`[draws]` Pearson correlation; NaN where one does not vary."""
    n, sx, sy, sxx, syy, sxy = sums(np.ones(len(x)), x, y, x * x, y * y, x * y)
    size = (n * sxx - sx**2) * (n * syy - sy**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(size > 0, (n * sxy - sx * sy) / np.sqrt(size.clip(min=0)), math.nan)


def _interval(draws: np.ndarray) -> Interval | None:
    """The value itself first; draws in which it is not defined are left out."""
    value, known = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
    if not math.isfinite(value):
        return None
    return Interval(value, *middle(value, known).tolist()) if len(known) else None


def _crossed(ways: list[tuple[TwinFeatures, TwinFeatures]], threshold: float) -> float | None:
    """Mean Jaccard of sets from different documents."""
    if not all(twin.halves for way in ways for twin in way):
        return None
    found = []
    for one, other in ways:
        x, y = one.halves["r_first"], other.halves["r_second"]
        known = np.isfinite(x) & np.isfinite(y)
        x, y = x[known] <= threshold, y[known] <= threshold
        if not (x | y).any():
            return None
        found.append(float((x & y).sum() / (x | y).sum()))
    return float(np.mean(found))
