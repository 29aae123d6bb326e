"""Errors of what single heads write to the residual stream, for the geometry analysis."""

import numpy as np
import torch

from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import ActivationPair
from bitlens.engine.analysis import LOCAL, Results
from bitlens.results.records import Metric, MetricResult

ERROR, ENERGY, SHARE = "head error", "head energy", "head share"
"""What is summed, `[shards, heads]`; shares are the reference's, and told once."""
SILENT = "the reference's head writes nothing here"
METRICS = (
    Metric(
        "head_error",
        "How much of what a head writes is wrong? Root of the ratio of energies, head by head, "
        "after the output projection.",
        unit="share",
        worse="higher",
        intact=0.0,
        scale="log",
    ),
    Metric(
        "head_share",
        "How much of what the heads of a block write is this head's? Its energy over the sum of "
        "theirs, in the reference.",
        unit="share",
        worse=None,
        intact=None,
        scale="logit",
        level=True,
    ),
)


def sums_by_head(pair: ActivationPair) -> Accumulator:
    """Squares of what heads write, `[n, heads, coordinates]`, and of its error, summed over
    positions: `[shards, heads]`."""
    x, y, at = pair.reference, pair.twin, pair.positions
    error = y.values - x.values
    energy = x.once("energy by head", lambda: torch.linalg.vecdot(x.values, x.values))
    error = at.total(torch.linalg.vecdot(error, error))
    energy = at.total(energy)
    shares = {SHARE: energy} if pair.item == LOCAL else {}
    return Accumulator(sums={ERROR: error, ENERGY: energy, **shares})


def results_by_head(state: ReplicateState) -> Results:
    """Every head's error, and with local ones how much of its block's heads it is; a silent head
    has a reason."""
    error, energy = state.sum(ERROR), state.sum(ENERGY)
    found = [_ratio("head_error", head, error[:, head], own) for head, own in enumerate(energy.T)]
    if state.has(SHARE):
        whole = energy.sum(axis=1)
        found += [_ratio("head_share", head, own, whole) for head, own in enumerate(energy.T)]
    return list(found)


def _ratio(metric: str, head: int, above: np.ndarray, below: np.ndarray) -> MetricResult:
    item = f"head {head}"
    if not np.all(below > 0):
        return MetricResult(metric, None, item=item, reason=SILENT)
    ratio = above / below
    return MetricResult(metric, np.sqrt(ratio) if metric == "head_error" else ratio, item=item)
