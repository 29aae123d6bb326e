"""Answers by depth: how the margin of the right choice grows, and from which block on two models
choose differently."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from bitlens.results.benchmarks.records import NO_PICK, DepthOutcome
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
    questions: int
    """Of which the lens gives a number there."""


def margins(depths: Sequence[DepthOutcome]) -> list[MarginAt]:
    """Of one model, block by block, over the questions of which the lens gives a number there; no
    row where it gives none, nothing of no questions."""
    if not depths:
        return []
    from scipy.special import stdtrit

    found = []
    # None becomes NaN.
    for block, column in enumerate(np.array([d.margins for d in depths], dtype=np.float64).T):
        known = column[np.isfinite(column)]
        n = len(known)
        if not n:
            continue
        value, half = float(known.mean()), None
        if n >= FEWEST:
            half = float(stdtrit(n - 1, (1 + LEVEL) / 2) * known.std(ddof=1) / sqrt(n))
        found.append(
            MarginAt(
                block=block,
                value=value,
                low=None if half is None else value - half,
                high=None if half is None else value + half,
                questions=n,
            )
        )
    return found


def partings(reference: Sequence[DepthOutcome], twin: Sequence[DepthOutcome]) -> Counter[int]:
    """Of the questions that two models answer differently, how many by the block from which on
    they choose differently, to the last; a block where the lens of one gives no numbers says
    nothing."""
    by_question = {(d.benchmark, d.task, d.doc): d.picks for d in reference}
    found: Counter[int] = Counter()
    for depth in twin:
        picks = by_question.get((depth.benchmark, depth.task, depth.doc))
        if picks is None or picks[-1] == depth.picks[-1]:
            continue
        pairs = enumerate(zip(picks, depth.picks, strict=True))
        known = [(n, a == b) for n, (a, b) in pairs if NO_PICK not in (a, b)]
        same = [place for place, (_, alike) in enumerate(known) if alike]
        found[known[same[-1] + 1 if same else 0][0]] += 1
    return found
