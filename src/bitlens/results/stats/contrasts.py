"""Contrasts: is a twin's number another than its control's, measured on the same documents?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from bitlens.results.records import Metric, Value
from bitlens.results.stats.any_stop import level_at_any_stop, p_at_any_stop
from bitlens.results.stats.intervals import BOUNDS, LEVEL, without_interval
from bitlens.results.stats.percentiles import Method
from bitlens.results.stats.scales import to_scale
from bitlens.seeds import generator

EXACT = 15
"""Up to this many shards all 2^n ways to set the signs are tried."""
DRAWS = 10_000
"""Beyond that so many are drawn; no p is then below 1 / 10,001."""
AT_ONCE = 128
"""Contrasts permuted together: bounds the memory to tens of megabytes."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Twin minus control, or a reason why there is no comparison."""

    difference: float | None
    """Twin minus control, in the metric's unit."""
    low: float | None
    high: float | None
    p: float | None
    """The share of differences at least as large if chance had said which was the twin's."""
    documents: int
    reason: str | None = None


def contrasts(
    pairs: Sequence[tuple[Value, Value, Metric]],
    seed: int = 0,
    method: Method = "jackknife",
    level: float = LEVEL,
    *,
    stopped: bool = False,
) -> list[Contrast]:
    """How far is each twin from its control, and could that be chance? (twin, control, metric).

    Difference and interval are in the metric's unit; the replicates of the two leave out, or draw,
    the same shards, so what a document does to both cancels. p comes from `sign_flip` over the
    shards' differences between the two jackknife pseudo-values n x - (n - 1) x(s) (Tukey 1958),
    moved so that their mean is the difference itself, on the metric's scale, or on the numbers
    themselves where one stands at the edge of its range.
    Bootstrap draws have no pseudo-values: an interval, but no p. No difference at all is p = 1.
    `stopped`: the numbers themselves decided how many documents were read, and both hold wherever
    that may be.
    """
    reasons = [_incomparable(*pair, method) for pair in pairs]
    by_shards: dict[int, dict[int, np.ndarray]] = {}
    if method == "jackknife":
        for place, (pair, reason) in enumerate(zip(pairs, reasons, strict=True)):
            if reason is None:
                shards = _pseudo_difference(*pair)
                by_shards.setdefault(len(shards), {})[place] = shards
    p: dict[int, float] = {}
    for group in by_shards.values():
        found = sign_flip(np.stack(list(group.values()), axis=1), seed)
        p |= dict(zip(group, found.tolist(), strict=True))
    sure = [level_at_any_stop(t.documents, level) if stopped else level for t, _, _ in pairs]
    if stopped:
        p = {place: p_at_any_stop(found, pairs[place][0].documents) for place, found in p.items()}
    return [
        _contrast(twin, control, reasons[place], p=p.get(place), method=method, level=sure[place])
        for place, (twin, control, _) in enumerate(pairs)
    ]


def sign_flip(differences: np.ndarray, seed: int = 0) -> np.ndarray:
    """How often do differences `[n, m]` with random signs have as large a mean? p `[m]`.

    Were twin and control interchangeable, each of the n differences would as well have the other
    sign. Up to 15 all 2^n signs are tried; beyond, 10,000 are drawn, and
    p = (1 + #{|T_b| >= |T|}) / (1 + B), which is never 0 (Phipson and Smyth 2010).
    """
    n, m = differences.shape
    if n <= EXACT:
        # The other half of the signs only mirrors the means of this one.
        signs = np.array([(1, *rest) for rest in product((1, -1), repeat=n - 1)], dtype=np.float64)
    else:
        signs = generator(seed, "sign flip", n).choice([-1.0, 1.0], size=(DRAWS, n))
    as_large = np.empty(m)
    for start in range(0, m, AT_ONCE):
        some = differences[:, start : start + AT_ONCE]
        rounding = 1e-12 * np.abs(some).sum(axis=0)
        reached = np.abs(signs @ some) >= np.abs(some.sum(axis=0)) - rounding
        as_large[start : start + AT_ONCE] = reached.sum(axis=0)
    return as_large / len(signs) if n <= EXACT else (1 + as_large) / (1 + len(signs))


def _incomparable(twin: Value, control: Value, metric: Metric, method: Method) -> str | None:
    for name, value in (("twin", twin), ("control", control)):
        reason = without_interval(value, metric, method)
        if reason is not None:
            return f"{name}: {reason}"
    if (twin.documents, len(twin.replicates)) != (control.documents, len(control.replicates)):
        return (
            "twin and control were not measured on the same documents: "
            f"{twin.documents} in {len(twin.replicates)} replicates "
            f"against {control.documents} in {len(control.replicates)}"
        )
    return None


def _pseudo_difference(twin: Value, control: Value, metric: Metric) -> np.ndarray:
    """`[n]`: the shards' pseudo-values of the twin minus those of the control."""
    numbers = np.array([[v.value, *v.replicates] for v in (twin, control)], dtype=np.float64)
    mapped = to_scale(numbers, metric.scale)
    whole, *replicates = np.subtract(*(numbers if mapped is None else mapped))
    n = len(replicates)
    pseudo = n * whole - (n - 1) * np.array(replicates)
    # About the difference itself: where counts jump at a threshold, the jackknife's correction for
    # bias is noise as large as what it corrects, and would part p from the interval.
    return np.asarray(pseudo - pseudo.mean() + whole)


def _contrast(
    twin: Value,
    control: Value,
    reason: str | None,
    p: float | None,
    method: Method,
    level: float,
) -> Contrast:
    if twin.value is None or control.value is None:
        return Contrast(
            difference=None, low=None, high=None, p=None, documents=twin.documents, reason=reason
        )
    difference = twin.value - control.value
    if reason is not None:
        return Contrast(
            difference=difference,
            low=None,
            high=None,
            p=None,
            documents=twin.documents,
            reason=reason,
        )
    replicates = np.subtract(twin.replicates, control.replicates)
    low, high = BOUNDS[method](difference, replicates, level).tolist()
    return Contrast(difference=difference, low=low, high=high, p=p, documents=twin.documents)
