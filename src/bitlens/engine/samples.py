"""What waits at a site until all documents have passed: sampled positions of one stream."""

from dataclasses import fields

import torch
from torch import Tensor

from bitlens.engine.accumulators import Accumulator, SampledRows
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.engine.analysis import Sample


def sample_rows(pair: ActivationPair, reading: Activations, size: int) -> SampledRows:
    """Which of a batch's positions are in the sample, and what was read there."""
    chosen = torch.nonzero(pair.positions.key <= pair.threshold(size)).flatten()
    if reading.index is None:
        states = reading.values[chosen]
    else:
        queries = reading.values.shape[2]
        at = reading.index[chosen]
        states = reading.values[at // queries, :, at % queries]
    return rows_of(pair.positions, states, chosen)


_PLACE = [f.name for f in fields(Positions) if f.name not in ("shard", "shards", "key")]


def rows_of(at: Positions, states: Tensor, chosen: Tensor | slice = slice(None)) -> SampledRows:
    places = {name: values[chosen] for name in _PLACE if (values := getattr(at, name)) is not None}
    return SampledRows(at.key[chosen], at.shard[chosen], {"states": states, **places})


def positions_of(rows: SampledRows, span: slice | Tensor, shards: int) -> Positions:
    """Sampled rows as positions again."""
    places = {name: rows.values[name][span] for name in _PLACE if name in rows.values}
    return Positions(shard=rows.shard[span], shards=shards, key=rows.key[span], **places)


class SampledActivations:
    """The sampled positions of one stream at one site, complete."""

    def __init__(self, tally: Accumulator) -> None:
        self.rows = tally.sample("sample")
        self.states = self.rows.values["states"]
        self.reading = Activations(self.states.float())
        self.sample = Sample(self.reading.values.cpu().numpy(), self.rows.shard.cpu().numpy())
