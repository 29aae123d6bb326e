"""Errors of what single heads write to the residual stream, for the geometry analysis."""

import numpy as np
import torch

from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import ActivationPair
from bitlens.engine.analysis import Results
from bitlens.results.records import Metric, MetricResult

ERROR, ENERGY = "head error", "head energy"
"""What is summed, `[shards, heads]`."""
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
    return Accumulator(
        sums={
            ERROR: at.total(torch.linalg.vecdot(error, error)),
            ENERGY: at.total(energy),
        }
    )


def results_by_head(state: ReplicateState) -> Results:
    """Every head's error, and how much of its block's heads it is; a silent head has a reason."""
    error, energy = state.sum(ERROR), state.sum(ENERGY)
    whole = energy.sum(axis=1)
    found: Results = []
    for head in range(energy.shape[1]):
        own, item = energy[:, head], f"head {head}"
        for metric, above, below in (
            ("head_error", error[:, head], own),
            ("head_share", own, whole),
        ):
            if np.all(below > 0):
                ratio = above / below
                values = np.sqrt(ratio) if metric == "head_error" else ratio
                found.append(MetricResult(metric, values, item=item))
            else:
                found.append(MetricResult(metric, None, item=item, reason=SILENT))
    return found
