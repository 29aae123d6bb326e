"""Dose and response of a steering vector: what an effect is at each multiplier, how steep, which
samples go the wrong way, and what multiplier a twin needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from bitlens.results.records import Estimate, Metric, Value
from bitlens.results.stats.intervals import LEVEL, jackknife
from bitlens.results.stats.replicates import assign, leave_one_out

MULTIPLIERS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
FULL = MULTIPLIERS.index(1.0)
NOUGHT = MULTIPLIERS.index(0.0)
NOT_REACHED = "not reached at twice the vector"
NO_EFFECT = "the vector moves the reference the other way, or not at all"

Curve = Annotated[np.ndarray, "replicates multipliers"]


@dataclass(frozen=True, eq=False)
class Sampled:
    """Numbers of documents at each multiplier, and the weights of their replicates."""

    values: np.ndarray
    """`[documents, multipliers]`."""
    weights: np.ndarray
    """`[replicates + 1, documents]`."""

    @classmethod
    def of(cls, values: np.ndarray, unit: np.ndarray) -> "Sampled":
        """`unit`: which sampling unit each document is of; whole ones are left out."""
        units, of = np.unique(unit, return_inverse=True)
        shard = assign(np.bincount(of).tolist(), units.tolist())[of]
        return cls(values, leave_one_out(np.bincount(shard) > 0)[:, shard])

    @property
    def curve(self) -> Curve:
        """The mean at each multiplier, under every replicate's weights."""
        return np.asarray(self.weights @ self.values / self.weights.sum(axis=1, keepdims=True))

    @property
    def slopes(self) -> np.ndarray:
        """`[documents]`: the least-squares slope of the effect over the multiplier."""
        around = np.array(MULTIPLIERS) - np.mean(MULTIPLIERS)
        return np.asarray(self.values @ around / (around**2).sum())

    def mean(self, of: np.ndarray) -> np.ndarray:
        """`[replicates + 1]`: of a number a document."""
        return np.asarray(self.weights @ of / self.weights.sum(axis=1))

    @property
    def documents(self) -> int:
        """How many."""
        return len(self.values)


def needed(reference: Curve, twin: Curve) -> tuple[np.ndarray, str]:
    """`[replicates + 1]`: the multiplier at which the twin's effect is as large as the reference's
    at 1, by linear interpolation: where it is first so large; of the reference itself 1. NaN and
    why where it is not reached."""
    wanted = reference[:, FULL] - reference[:, NOUGHT]
    if (wanted <= 0).any():
        return np.full(len(wanted), np.nan), NO_EFFECT
    if np.array_equal(reference, twin):
        return np.ones(len(wanted)), ""
    doses = np.array(MULTIPLIERS[NOUGHT:])
    risen = twin[:, NOUGHT:] - twin[:, [NOUGHT]]
    over = risen >= wanted[:, None]
    if not over.any(axis=1).all():
        return np.full(len(wanted), np.nan), NOT_REACHED
    after = over.argmax(axis=1)
    row = np.arange(len(wanted))
    low, high = risen[row, after - 1], risen[row, after]
    share = (wanted - low) / (high - low)
    return doses[after - 1] + share * (doses[after] - doses[after - 1]), ""


def at(curve: Curve, multiplier: float) -> np.ndarray:
    """`[replicates + 1]`: a curve at a multiplier between the measured ones."""
    return np.array([np.interp(multiplier, MULTIPLIERS, row) for row in curve])


def estimate(
    values: np.ndarray, documents: int, reason: str = "", level: float = LEVEL
) -> Estimate:
    """A value and its replicates with an interval, of 95 % or another level, or why there is
    none."""
    metric = Metric("steering", "", unit="", worse=None, intact=None)
    known = np.isfinite(values).all()
    value = Value(
        metric="steering",
        site="",
        item="",
        value=float(values[0]) if known else None,
        replicates=tuple(map(float, values[1:])) if known else (),
        documents=documents,
        reason=None if known else reason or "not finite",
    )
    return jackknife(value, metric, level)


def chance(values: Sequence[float]) -> Estimate:
    """What random directions do: the mean of the drawn ones, and between which values one more such
    direction would lie 95 times of 100 (the prediction interval of a normal distribution,
    mean ± t s sqrt(1 + 1/n)): another than that of their mean, because one vector is held against
    it. A reason where the slope of one is not finite."""
    from scipy.stats import t

    of = np.asarray(values)
    if not np.isfinite(of).all():
        return Estimate(value=None, low=None, high=None, documents=len(of), reason="not finite")
    half = t.ppf((1 + LEVEL) / 2, len(of) - 1) * of.std(ddof=1) * np.sqrt(1 + 1 / len(of))
    middle = float(of.mean())
    return Estimate(
        value=middle, low=middle - float(half), high=middle + float(half), documents=len(of)
    )
