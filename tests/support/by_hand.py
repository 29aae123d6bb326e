"""Pairs made of given numbers, and what an analysis makes of them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.engine.analysis import Analysis, Results, Sample
from bitlens.results.records import MetricResult
from bitlens.results.stats.replicates import leave_one_out


def pair(
    reference: Tensor | Sequence[Sequence[float]],
    twin: Tensor | Sequence[Sequence[float]],
    target: Sequence[int] | Tensor | None = None,
    shard: Sequence[int] | Tensor | None = None,
) -> ActivationPair:
    """Positions in the order of their keys, each in its own document."""
    values = [torch.as_tensor(v, dtype=torch.float32) for v in (reference, twin)]
    place = torch.arange(len(values[0]))
    shards = torch.zeros_like(place) if shard is None else torch.as_tensor(shard)
    targets = torch.zeros_like(place) if target is None else torch.as_tensor(target)
    at = Positions(
        document=place,
        shard=shards,
        shards=int(shards.max()) + 1,
        offset=place,
        target=targets,
        key=place,
        token=targets,
        length=torch.ones_like(place),
    )
    both = [Activations(v) for v in values]
    return ActivationPair(
        site="resid.0",
        item="cumulative",
        reference=both[0],
        twin=both[1],
        positions=at,
        threshold=lambda size: size - 1,
    )


def rows(
    reference: Tensor,
    twin: Tensor,
    shard: Sequence[int],
    shards: int | None = None,
    lengths: Sequence[int] | None = None,
    first: int = 1,
) -> ActivationPair:
    """Attention patterns `[rows, heads, queries, keys]`, a row a document, where every position
    counts from the `first` on to the end of its row."""
    height, _, queries, _ = reference.shape
    length = torch.tensor([queries] * height if lengths is None else lengths)
    place = torch.arange(queries).expand(height, queries)
    index = torch.nonzero(((place >= first) & (place < length[:, None])).flatten()).flatten()
    document, offset = index // queries, index % queries
    at = Positions(
        document=document,
        shard=torch.tensor(shard)[document],
        shards=max(shard) + 1 if shards is None else shards,
        offset=offset,
        target=torch.zeros_like(index),
        key=index,
        token=torch.zeros_like(index),
        length=length[document],
    )
    both = (Activations(values.float(), index) for values in (reference, twin))
    of_reference, of_twin = both
    return ActivationPair(
        site="pattern.0",
        item="cumulative",
        reference=of_reference,
        twin=of_twin,
        positions=at,
        threshold=lambda size: size - 1,
    )


def state(analysis: Analysis, *parts: ActivationPair) -> ReplicateState:
    """The complete accumulator of some pairs under leave-one-shard-out weights."""
    whole = Accumulator()
    for part in parts:
        whole.add(analysis.update(part))
    shards = torch.cat([part.positions.shard for part in parts])
    occupied = np.bincount(shards.numpy(), minlength=parts[0].positions.shards) > 0
    return whole.under(leave_one_out(occupied))


NOTHING = Sample(np.empty((0, 0), np.float32), np.empty(0, np.int64))


def found(outcomes: Results) -> dict[tuple[str, str, str], MetricResult]:
    """Outcomes by metric, site and item, each once."""
    named = {(o.metric, o.site, o.item): o for o in outcomes if isinstance(o, MetricResult)}
    assert len(named) == sum(isinstance(o, MetricResult) for o in outcomes)
    return named


def number(outcome: MetricResult) -> float:
    """An outcome's value."""
    assert outcome.values is not None, outcome.reason
    return float(outcome.values[0])


def outcomes(analysis: Analysis, given: ActivationPair) -> dict[str, MetricResult]:
    """What the analysis says of one pair, by metric; perplexity by the model it is of."""
    shard = given.positions.shard.numpy()
    samples = [Sample(r.values.numpy(), shard) for r in (given.reference, given.twin)]
    weights = leave_one_out(np.bincount(shard) > 0)
    found = analysis.compute(analysis.update(given).under(weights), *samples)
    return {
        " ".join(filter(None, (o.metric, o.item))): o for o in found if isinstance(o, MetricResult)
    }


def value(analysis: Analysis, given: ActivationPair, name: str) -> float:
    """One number."""
    found = outcomes(analysis, given)[name].values
    assert found is not None, outcomes(analysis, given)[name].reason
    return float(found[0])
