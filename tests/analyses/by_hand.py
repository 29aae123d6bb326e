"""Pairs made of given numbers, and what an analysis makes of them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses import Analysis
from bitlens.analyses.analysis import Outcome, Sample
from bitlens.readings import Pair, Positions, Reading
from bitlens.stats.replicates import leave_one_out


def pair(
    reference: Tensor | Sequence[Sequence[float]],
    twin: Tensor | Sequence[Sequence[float]],
    target: Sequence[int] | Tensor | None = None,
    shard: Sequence[int] | Tensor | None = None,
) -> Pair:
    """Positions in the order of their keys, each in its own document."""
    values = [torch.as_tensor(v, dtype=torch.float32) for v in (reference, twin)]
    place = torch.arange(len(values[0]))
    shards = torch.zeros_like(place) if shard is None else torch.as_tensor(shard)
    targets = torch.zeros_like(place) if target is None else torch.as_tensor(target)
    at = Positions(place, shards, int(shards.max()) + 1, place, targets, place)
    sizes = (128, 1024, 1 << 20)
    return Pair("resid.0", "cumulative", *map(Reading, values), at, {s: s - 1 for s in sizes})


def outcomes(analysis: Analysis, given: Pair) -> dict[str, Outcome]:
    """What the analysis says of one pair, by metric; perplexity by the model it is of."""
    shard = given.positions.shard.numpy()
    samples = [Sample(r.values.numpy(), shard) for r in (given.reference, given.twin)]
    weights = leave_one_out(np.bincount(shard) > 0)
    found = analysis.finish(analysis.tally(given).totals(weights), *samples)
    return {" ".join(filter(None, (o.metric, o.item))): o for o in found}


def value(analysis: Analysis, given: Pair, name: str) -> float:
    """One number."""
    found = outcomes(analysis, given)[name].values
    assert found is not None, outcomes(analysis, given)[name].reason
    return float(found[0])
