"""Chance: every metric when the twin is read at another position than the reference."""

from collections.abc import Iterator

import numpy as np
import torch

from bitlens.engine.accumulators import Accumulator
from bitlens.engine.activations import EVERYTHING, ActivationPair, Activations
from bitlens.engine.comparisons import Comparison
from bitlens.engine.measured import Chance, first_values
from bitlens.engine.runs import REFERENCE
from bitlens.engine.samples import SampledActivations, sampled_positions
from bitlens.engine.sweep import Sweep
from bitlens.models.sites import site


class MismatchedPositions:
    """An analysis on a sample whose positions are paired with others, of one sweep."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep

    @torch.no_grad()
    def summed(
        self,
        comparison: Comparison,
        name: str,
        shards: int,
        reference: SampledActivations,
        twin: SampledActivations,
    ) -> Accumulator | None:
        """What an analysis sums of a site on mismatched rows of the sample, in so many shards;
        None of fewer than two."""
        rows = reference.rows
        if len(rows.key) < 2:
            return None
        analysis = comparison.analysis
        accumulator = Accumulator()
        for part in self._pairs(comparison, name, reference, twin):
            span, of_reference, of_twin = part
            pair = ActivationPair(
                site=name,
                item=comparison.item,
                reference=of_reference,
                twin=of_twin,
                positions=sampled_positions(rows, span, shards),
                threshold=lambda _: EVERYTHING,
            )
            accumulator.add(analysis.update(pair))
            # Before the next logits are computed.
            del part, of_reference, of_twin, pair
        return accumulator

    def chance(
        self,
        comparison: Comparison,
        mismatched: Accumulator | None,
        base: int,
        reference: SampledActivations,
        twin: SampledActivations,
    ) -> Chance:
        """What every metric is on mismatched rows, from their sums in `base` shards."""
        if mismatched is None:
            return {}
        state = mismatched.under(np.ones((1, base)))
        found = comparison.analysis.compute(state, reference.sample, twin.sample.mismatched())
        return first_values(found)

    def _pairs(
        self,
        comparison: Comparison,
        name: str,
        reference: SampledActivations,
        twin: SampledActivations,
    ) -> Iterator[tuple[slice, Activations, Activations]]:
        """Rows of the sample: the reference's as they are, the twin's one further on."""
        if name == "logits":
            mismatched = twin.states.roll(1, dims=0)
            for begin in range(0, len(mismatched), self._sweep.chunk):
                span = slice(begin, begin + self._sweep.chunk)
                yield (
                    span,
                    Activations(self._sweep.logits(REFERENCE, reference.states[span])),
                    Activations(self._sweep.logits(comparison.run, mismatched[span])),
                )
        elif site(name).kind == "pattern":
            # As many keys as the reference had, or nearly: the next of those sorted by place.
            order = torch.argsort(reference.rows.values["offset"], stable=True)
            partner = torch.empty_like(order)
            partner[order] = order.roll(1)
            index = torch.arange(len(order), device=order.device)
            whole = [v.unsqueeze(2) for v in (reference.states, twin.states[partner])]
            yield slice(None), Activations(whole[0], index), Activations(whole[1], index)
        else:
            rolled = Activations(twin.activations.values.roll(1, dims=0))
            yield slice(None), reference.activations, rolled
