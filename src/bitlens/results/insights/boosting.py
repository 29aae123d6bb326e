"""Gradient boosting of small trees, of several samples at once.

Newton boosting of the logistic loss (Friedman 2001, Chen and Guestrin 2016) on binned columns, as
scikit-learn's HistGradientBoostingClassifier(max_iter=60, max_depth=3, max_leaf_nodes=8,
max_bins=32, early_stopping=False) has it. A thousand features are not many: trees stay small, and
so many bins hold about as few features each as a leaf may.
"""

from typing import NamedTuple

import numpy as np

from bitlens.results.insights.logistic import probability

TREES, DEPTH, RATE = 60, 3, 0.1
LEAST = 20
"""Rows of a leaf."""
CURVATURE = 1e-3
"""Of a leaf's loss, at least: below it every row is as good as certain."""
BINS = 32
TINY = 1e-15
"""Keeps a quotient finite; as scikit-learn has it."""


class _Steepness(NamedTuple):
    """Of rows the slopes and curvatures of their losses, and how many they are."""

    slope: np.ndarray
    curvature: np.ndarray
    rows: np.ndarray


def boosted(columns: np.ndarray, outcome: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """`[samples, n]` of columns `[n, k]`: each row's probability, by trees of a sample's rows.

    `outcome` `[n]` is true or false, `samples` `[samples, n]` which rows each fit sees, of either
    kind one at least. Nothing in it is drawn at random.
    """
    rows = _Samples(columns, samples)
    share = samples @ outcome.astype(np.float64) / samples.sum(axis=1)
    score = np.repeat(np.log(share / (1 - share)), len(outcome))
    expected = np.tile(outcome, len(samples))
    for _ in range(TREES):
        chance = probability(score)
        score += RATE * rows.steps(chance - expected, chance * (1 - chance))
    return probability(score).reshape(samples.shape)


class _Samples:
    """All rows of all samples, one sample after the other, and which of them each may see."""

    def __init__(self, columns: np.ndarray, samples: np.ndarray) -> None:
        self._samples, (n, self._k) = len(samples), columns.shape
        self._bins = np.concatenate([_binned(columns, columns[seen]) for seen in samples])
        self._all, self._roots = np.arange(len(self._bins)), np.repeat(np.arange(len(samples)), n)
        self._seen = np.flatnonzero(samples)
        self._cells = (self._bins[self._seen] + BINS * np.arange(self._k)).ravel()

    def steps(self, slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
        """What a tree of each sample adds to every row; it has seen only its own."""
        steepness = [by[self._seen] for by in (slope, curvature)]
        repeated = [np.repeat(by, self._k) for by in steepness]
        node, nodes = self._roots, self._samples
        for _ in range(DEPTH):
            column, last = _best(self._up_to(node[self._seen], nodes, repeated))
            right = self._bins[self._all, column[node]] > last[node]
            node, nodes = 2 * node + right, 2 * nodes
        down, curved = (np.bincount(node[self._seen], by, nodes) for by in steepness)
        return np.asarray(-(down / (curved + TINY))[node])

    def _up_to(self, node: np.ndarray, nodes: int, repeated: list[np.ndarray]) -> _Steepness:
        """`[nodes, k, bins]`: by node and column, the sums of the rows in a bin and before it."""
        cells = self._cells + np.repeat(node * (self._k * BINS), self._k)
        most = nodes * self._k * BINS
        found = [*(np.bincount(cells, by, most) for by in repeated), np.bincount(cells, None, most)]
        return _Steepness(*(np.cumsum(by.reshape(nodes, self._k, BINS), axis=2) for by in found))


def _binned(columns: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """`[n, k]`: in which bin each value lies; what was seen, as many of it in each, made them."""
    shares = np.linspace(0, 1, BINS + 1)[1:-1]
    edges = np.quantile(seen, shares, axis=0, method="averaged_inverted_cdf")
    return np.asarray((columns[None] > edges[:, None]).sum(axis=0))


def _best(up_to: _Steepness) -> tuple[np.ndarray, np.ndarray]:
    """Of each node the column that parts it best, and the last bin that goes left; one whose parts
    gain nothing, or would be too small, stays whole: all of its bins go left."""
    left = _Steepness(*(by[:, :, :-1] for by in up_to))
    right = _Steepness(*(by[:, :, -1:] - by[:, :, :-1] for by in up_to))
    may = np.minimum(left.rows, right.rows) >= LEAST
    may &= np.minimum(left.curvature, right.curvature) >= CURVATURE
    gain = np.where(may, _fall(left) + _fall(right), -np.inf).reshape(len(may), -1)
    best = gain.argmax(axis=1)
    column, last = np.divmod(best, BINS - 1)
    parted = gain[np.arange(len(gain)), best] > _fall(_Steepness(*(by[:, 0, -1] for by in up_to)))
    return column, np.where(parted, last, BINS)


def _fall(of: _Steepness) -> np.ndarray:
    """Twice what the loss falls by where these rows take a step of their own."""
    return np.asarray(of.slope**2 / (of.curvature + TINY))
