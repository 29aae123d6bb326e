"""The correlation of each feature in the twin with itself in the reference, and its outcomes."""

from dataclasses import dataclass

import numpy as np

from bitlens.analyses.features.survival.metrics import DAMAGED, SURVIVED, THRESHOLDS
from bitlens.analyses.features.survival.parts import at_once
from bitlens.analyses.features.survival.sums import BOTH, Sums
from bitlens.results.records import MetricResult
from bitlens.results.stats.replicates import bounds

_SURE = ("surely_survived", "surely_lost", "undecided")


@dataclass(frozen=True, eq=False)
class Agreement:
    """How each of some latents in the twin goes with itself in the reference."""

    r: np.ndarray
    """`[replicates + 1, features]` Pearson correlation; NaN where the reference never fires."""
    gain: np.ndarray
    offset: np.ndarray
    concordance: np.ndarray


def agreement(sums: Sums, columns: np.ndarray) -> Agreement:
    """How do some latents of both models go together? Moments to correlations, in float64 as
    they were summed."""
    n = sums.count
    mean = {who: sums(f"sum_{who}", columns) / n for who in BOTH}
    x, y = mean.values()
    spread = {who: sums(f"square_{who}", columns) / n - mean[who] ** 2 for who in BOTH}
    vx, vy = (v.clip(min=0) for v in spread.values())
    covariance = sums("product", columns) / n - x * y
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.where(vx > 0, np.where(vy > 0, covariance / np.sqrt(vx * vy), 0.0), np.nan)
        gain = np.where(vx > 0, covariance / vx, np.nan)
        concordance = np.where(vx > 0, 2 * covariance / (vx + vy + (x - y) ** 2), np.nan)
    return Agreement(r.clip(-1, 1), gain, y - gain * x, concordance)


def intervals(sums: Sums, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interval of every feature's correlation on the scale of artanh, `[features]` each; NaN
    where there are no replicates, or where a feature is silent in one: what fires in the documents
    of a single shard is not known at all without them."""
    weights = sums.state.weights
    columns = at_once(len(weights))
    parts = []
    for first in range(0, len(features), columns):
        r = agreement(sums, features[first : first + columns]).r
        low, high = bounds(np.arctanh(r.clip(-1 + 1e-12, 1 - 1e-12)), weights)
        # What is the same in every document is the same whatever is left out.
        equal = np.nanmin(r, axis=0) >= 1 - 1e-12
        parts.append([np.where(equal & (len(r) > 2), np.inf, of) for of in (low, high)])
    low, high = np.concatenate(parts, axis=1)
    return np.tanh(low), np.tanh(high)


def shares(label: str, r: np.ndarray) -> list[MetricResult]:
    """Shares of features above and between thresholds, of those that fire at all."""
    known = ~np.isnan(r)
    count = known.sum(axis=1)

    def share(where: np.ndarray) -> np.ndarray:
        return np.asarray((where & known).sum(axis=1) / count)

    with np.errstate(invalid="ignore"):
        return [
            MetricResult("survived", share(r > SURVIVED), item=label),
            MetricResult("degraded", share((r >= DAMAGED) & (r <= SURVIVED)), item=label),
            MetricResult("damaged", share(r < DAMAGED), item=label),
            *(MetricResult(f"kept_{t}", share(r > t / 100), item=label) for t in THRESHOLDS),
        ]


def sure(label: str, low: np.ndarray, high: np.ndarray) -> list[MetricResult]:
    """The share of features whose own intervals decide; no interval of its own, because leaving
    documents out changes those intervals too."""
    if np.isnan(low).all():
        reason = "no intervals of features: too few documents"
        return [MetricResult(m, None, item=label, reason=reason) for m in _SURE]
    survived, lost = low > SURVIVED, high <= SURVIVED
    parts = (survived, lost, ~(survived | lost))
    return [
        MetricResult(name, np.array([part.mean()]), item=label)
        for name, part in zip(_SURE, parts, strict=True)
    ]


def medians(label: str, of: Agreement) -> list[MetricResult]:
    """How does the feature in the middle fare?"""
    return [
        MetricResult("r", np.nanmedian(of.r, axis=1), item=label),
        MetricResult("gain", np.nanmedian(of.gain, axis=1), item=label),
        MetricResult("concordance", np.nanmedian(of.concordance, axis=1), item=label),
        MetricResult("feature_correlation", np.nanmean(of.r, axis=1), item=label),
    ]
