"""Answers by depth: how the margin of the right choice grows, and from which block on two models
choose differently."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from bitlens.results.benchmarks.records import DepthOutcome
from bitlens.results.records import FEWEST
from bitlens.results.stats.intervals import LEVEL


@dataclass(frozen=True, kw_only=True)
class MarginAt:
    """The mean margin of the right choice after a block, in nats."""

    block: int
    value: float
    low: float | None
    high: float | None
    """Student's t over questions; None below 20 of them."""


def margins(depths: Sequence[DepthOutcome]) -> list[MarginAt]:
    """Of one model, block by block; nothing of no questions."""
    if not depths:
        return []
    from scipy.special import stdtrit

    at = np.array([depth.margins for depth in depths])
    n = len(at)
    half = np.full(at.shape[1], np.nan)
    if n >= FEWEST:
        half = stdtrit(n - 1, (1 + LEVEL) / 2) * at.std(axis=0, ddof=1) / sqrt(n)
    return [
        MarginAt(
            block=block,
            value=value,
            low=None if np.isnan(h) else value - h,
            high=None if np.isnan(h) else value + h,
        )
        for block, (value, h) in enumerate(
            zip(at.mean(axis=0).tolist(), half.tolist(), strict=True)
        )
    ]


def partings(reference: Sequence[DepthOutcome], twin: Sequence[DepthOutcome]) -> Counter[int]:
    """Of the questions that two models answer differently, how many by the block from which on
    they choose differently, to the last."""
    by_question = {(d.benchmark, d.task, d.doc): d.picks for d in reference}
    found: Counter[int] = Counter()
    for depth in twin:
        picks = by_question.get((depth.benchmark, depth.task, depth.doc))
        if picks is None or picks[-1] == depth.picks[-1]:
            continue
        same = [n for n, (a, b) in enumerate(zip(picks, depth.picks, strict=True)) if a == b]
        found[same[-1] + 1 if same else 0] += 1
    return found
