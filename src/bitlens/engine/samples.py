"""Sampled activations: positions of one run that wait at a site until all documents have passed."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from bitlens.engine.accumulators import Accumulator, SampledRows
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.engine.analysis import Sample


def sample_rows(pair: ActivationPair, activations: Activations, size: int) -> SampledRows:
    """Which of a batch's positions are in the sample, and what was read there."""
    chosen = torch.nonzero(pair.positions.key <= pair.threshold(size)).flatten()
    if activations.index is None:
        states = activations.values[chosen]
    else:
        queries = activations.values.shape[2]
        at = activations.index[chosen]
        states = activations.values[at // queries, :, at % queries]
    return rows_of(pair.positions, states, chosen)


_PLACE = [f.name for f in fields(Positions) if f.name not in ("shard", "shards", "key")]


def rows_of(at: Positions, states: Tensor, chosen: Tensor | slice = slice(None)) -> SampledRows:
    """`states` `[n, ...]` as rows of a sample, with where they are: the `chosen` of `at`."""
    places = {name: values[chosen] for name in _PLACE if (values := getattr(at, name)) is not None}
    return SampledRows(at.key[chosen], at.shard[chosen], {"states": states, **places})


def sampled_positions(rows: SampledRows, span: slice | Tensor, shards: int) -> Positions:
    """Sampled rows as positions again."""
    places = {name: rows.values[name][span] for name in _PLACE if name in rows.values}
    return Positions(shard=rows.shard[span], shards=shards, key=rows.key[span], **places)


class SampledActivations:
    """The sampled positions of one run at one site, complete."""

    def __init__(self, accumulator: Accumulator, base: int) -> None:
        """`base`: how many shards there are, of each category where there are any."""
        self.rows = accumulator.sample("sample")
        self.states = self.rows.values["states"]
        self.activations = Activations(self.states.float())
        shard = self.rows.shard.cpu().numpy()
        self._category, shards = shard // base, shard % base
        self.sample = Sample(self.activations.values.cpu().numpy(), shards)

    def within(self, categories: Sequence[int]) -> Sample:
        """The sampled positions of some categories."""
        kept = np.isin(self._category, categories)
        return Sample(self.sample.values[kept], self.sample.shard[kept])
