"""Intervals: how far a value may be from what other documents would give, or a reason for none.

The unit is the document: replicates leave out (jackknife) or draw (bootstrap) whole documents.
"""

import numpy as np

from bitlens.results.records import Estimate, Metric, Value
from bitlens.results.stats.percentiles import Method, too_few
from bitlens.results.stats.scales import SCALES, to_scale

LEVEL = 0.95


def interval(
    value: Value, metric: Metric, method: Method = "jackknife", level: float = LEVEL
) -> Estimate:
    """What is the value, and between what bounds? By the method that made its replicates."""
    build = {"jackknife": jackknife, "bootstrap": bootstrap}[method]
    return build(value, metric, level)


def jackknife(value: Value, metric: Metric, level: float = LEVEL) -> Estimate:
    """Where does the value lie by delete-a-shard jackknife and Student's t?

    With n replicates x(s) on the metric's scale the squared standard error is
    (n - 1) / n * sum (x(s) - mean)^2, and t has n - 1 degrees of freedom (Quenouille 1956,
    Tukey 1958; Shao and Tu, The Jackknife and Bootstrap, 1995). The bounds are carried back to
    the metric's unit. For a mean over shards it is the textbook interval. Where few documents hold
    most of a mean it is too narrow: in simulation 86 % at 20 documents, 91 % at 100, 93 % at 200
    (benchmarks/coverage.md).

    Where all replicates equal the value (a model against itself) the interval is that point.
    Where the value or a replicate stands at the edge of its range, so that the scale cannot hold
    it, the interval is built on the number itself and cut at the edge.
    """
    reason = without_interval(value, metric, "jackknife")
    if value.value is None or reason is not None:
        return Estimate(
            value=value.value, low=None, high=None, documents=value.documents, reason=reason
        )
    replicates = np.array(value.replicates)
    if (replicates == value.value).all():
        return Estimate(
            value=value.value, low=value.value, high=value.value, documents=value.documents
        )
    scale = SCALES[metric.scale]
    mapped = to_scale(np.append(value.value, replicates), metric.scale)
    if mapped is None:
        bounds = np.clip(student(value.value, replicates, level), scale.lowest, scale.highest)
    else:
        with np.errstate(over="ignore"):
            bounds = np.sort(scale.inverse(student(mapped[0], mapped[1:], level)))
    # An interval holds its value, which rounding, or a value out of range, can leave outside.
    return _estimate(value, np.array([min(bounds[0], value.value), max(bounds[1], value.value)]))


def bootstrap(value: Value, metric: Metric, level: float = LEVEL) -> Estimate:
    """Where does the value lie by the percentiles of bootstrap draws (Efron 1979)?"""
    reason = without_interval(value, metric, "bootstrap")
    if value.value is None or reason is not None:
        return Estimate(
            value=value.value, low=None, high=None, documents=value.documents, reason=reason
        )
    return _estimate(value, middle(value.value, np.array(value.replicates), level))


def without_interval(value: Value, metric: Metric, method: Method) -> str | None:
    """Why does this value have no interval? None where it can have one."""
    if value.value is None:
        return value.reason or "no value"
    if not metric.interval:
        return "no interval: leaving documents out does not tell how sure it is"
    if value.documents < 2:
        return f"no interval: it takes at least 2 documents, there is {value.documents}"
    if len(value.replicates) < 2:
        return "no interval: no replicates were kept"
    if metric.quantile is not None:
        return too_few(metric.quantile, value.documents, method)
    return None


def student(value: float, replicates: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """`[2]`: value -+ Student's t times the jackknife's standard error of its n replicates."""
    from scipy.special import stdtrit  # takes as long to load as a section of a page to make

    n = len(replicates)
    half = stdtrit(n - 1, (1 + level) / 2) * np.sqrt((n - 1) * np.var(replicates))
    return np.array([value - half, value + half])


def middle(value: float, draws: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """`[2]`: the percentiles that leave out the same share of bootstrap draws at both ends."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    # An interval holds its value, which the percentiles of few or skewed draws can pass by.
    return np.array([min(low, value), max(high, value)])


BOUNDS = {"jackknife": student, "bootstrap": middle}


def _estimate(value: Value, bounds: np.ndarray) -> Estimate:
    low, high = bounds.tolist()
    if not np.isfinite(bounds).all():
        reason = "no interval: the documents differ by more than a number can hold"
        return Estimate(
            value=value.value, low=None, high=None, documents=value.documents, reason=reason
        )
    return Estimate(value=value.value, low=low, high=high, documents=value.documents)
