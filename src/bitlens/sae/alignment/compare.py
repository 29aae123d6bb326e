"""Measures of how alike two sets of directions are, each with its chance."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bitlens.results.records import Metric
from bitlens.sae.alignment.chance import best_cosine, best_cosine_quantile, mutual_pairs
from bitlens.sae.alignment.matching import assign, nearest
from bitlens.sae.alignment.procrustes import held_out

CUTS = (0.5, 0.7, 0.9)
"""Cosines from which on a matched pair counts as one feature; 0.7 is that of Paulo and Belrose
2025 (arXiv 2501.16615)."""
QUANTILES = np.linspace(0, 1, 21)
"""Of the distributions that are written down."""

MUTUAL = "mutual nearest neighbours"
PAIRS = "cosine of these pairs"
ROTATED = "cosine of these pairs, rotated as the other half says"
_PERCENTILES = {"10th percentile": 0.1, "median": 0.5, "90th percentile": 0.9}
_WAYS = {
    "first": "in the second of one of the first",
    "second": "in the first of one of the second",
}


def _best(way: str, statistic: str) -> str:
    return f"best match of the {way}, {statistic}"


def _matched(cut: float) -> str:
    return f"matched one to one, cosine {cut} or more"


def _metric(name: str, question: str, unit: str = "", source: str = "") -> Metric:
    return Metric(name, question=question, unit=unit, worse="lower", intact=1.0, source=source)


BEST = _best("first", "mean")
SHARED = _matched(0.7)

_METRICS = (
    *(
        _metric(_best(way, statistic), f"How near is the nearest latent {of}?")
        for way, of in _WAYS.items()
        for statistic in ("mean", *_PERCENTILES)
    ),
    _metric(MUTUAL, "What share of all latents have a partner, each the other's nearest?", "share"),
    _metric(PAIRS, "How near are mutual nearest neighbours, on average?"),
    _metric(
        ROTATED,
        "Are they nearer under one rotation, fitted to pairs they are not among?",
        source="Schönemann 1966",
    ),
    *(
        _metric(
            _matched(cut),
            "What share of all latents have so near a partner in the best matching?",
            "share",
            "Hungarian matching: Kuhn 1955",
        )
        for cut in CUTS
    ),
)
MEASURES = {metric.name: metric for metric in _METRICS}


@dataclass(frozen=True)
class DirectionMeasures:
    """What the measures say of two sets of directions."""

    values: dict[str, float]
    """The value of each measure, by its name."""
    absent: dict[str, str]
    """Why a measure has no value, by its name."""
    first: tuple[float, ...]
    """The distribution of the best cosine of each latent of the first in the second: its
    quantiles 0, 0.05 to 1."""
    second: tuple[float, ...]
    """The distribution of the best cosine of each latent of the second in the first: its
    quantiles 0, 0.05 to 1."""


def compare(first: Tensor, second: Tensor, seed: int = 0) -> DirectionMeasures:
    """All measures of unit directions `[n, width]` and `[m, width]`; `seed` parts pairs into
    halves. A share counts the latents of both: 2 pairs / (n + m)."""
    both = len(first) + len(second)
    near = nearest(first, second)
    best = {way: getattr(near, f"of_{way}").double().cpu().numpy() for way in _WAYS}
    values, absent = {}, {}
    for way, cosines in best.items():
        values[_best(way, "mean")] = float(cosines.mean())
        for statistic, quantile in _PERCENTILES.items():
            values[_best(way, statistic)] = float(np.quantile(cosines, quantile))
    one, other = near.mutual()
    values[MUTUAL] = 2 * len(one) / both
    values[PAIRS] = float(near.of_first[one].mean(dtype=torch.float64))
    rotated = held_out(first[one], second[other], seed)
    if isinstance(rotated, str):
        absent[ROTATED] = rotated
    else:
        values[ROTATED] = rotated
    matched = assign(first, second).cosine
    for cut in CUTS:
        values[_matched(cut)] = 2 * int((matched >= cut).sum()) / both
    spread = {way: tuple(np.quantile(of, QUANTILES).tolist()) for way, of in best.items()}
    return DirectionMeasures(values, absent, spread["first"], spread["second"])


def of_uniform(first: int, second: int, width: int) -> dict[str, float]:
    """What do the measures say of so many uniformly random directions? In expectation; of
    percentiles, those of the distribution. Only measures with an analytic answer."""
    found = {MUTUAL: 2 * mutual_pairs(first, second) / (first + second)}
    for way, others in (("first", second), ("second", first)):
        found[_best(way, "mean")] = best_cosine(others, width)
        for statistic, quantile in _PERCENTILES.items():
            found[_best(way, statistic)] = best_cosine_quantile(quantile, others, width)
    return found
