"""Lens readout: sampled positions of all sites through the unembedding, when the last is read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bitlens.engine.accumulators import Accumulator
from bitlens.engine.activations import EVERYTHING, ActivationPair, Activations
from bitlens.engine.analysis import CorpusReader
from bitlens.engine.categories import of_everything
from bitlens.engine.comparisons import Comparison
from bitlens.engine.keys import Accumulators, LensKey
from bitlens.engine.measured import NOTHING, Measured, Place, broken, first_values, measured
from bitlens.engine.plan import Plan
from bitlens.engine.runs import REFERENCE
from bitlens.engine.samples import SampledActivations, sampled_positions
from bitlens.engine.sweep import Sweep

MISMATCHED = 64
"""Positions, or a few more, that tell what chance gives through a lens."""
SITE = "resid"
"""What stands for all sites together."""

Paths = dict[str, list[SampledActivations]]
"""By run, the sampled positions at every site."""


@dataclass
class _Sums:
    """What one twin adds up, beside the reference at the same position and at the one before."""

    matched: Accumulator
    mismatched: Accumulator
    last: Activations
    """Of the position before: the last of the sample, to begin with."""


class LensReadout:
    """The sampled positions of one sweep that wait for the unembedding."""

    def __init__(self, sweep: Sweep, plan: Plan, texts: CorpusReader) -> None:
        self._sweep, self._plan, self._texts = sweep, plan, texts
        self._waiting: dict[LensKey, SampledActivations] = {}

    def collect(self, accumulators: Accumulators) -> None:
        """Take out what waits for the unembedding, of a depth that all documents have passed."""
        for key in [key for key in accumulators if isinstance(key, LensKey)]:
            # Not by category: what is read here is a sample already.
            self._waiting[key] = SampledActivations(accumulators.pop(key), base=1)

    @torch.no_grad()
    def measured(self, comparisons: Sequence[Comparison]) -> Iterator[Measured]:
        """Every comparison: the reference's logits once for all twins, a few positions at a
        time."""
        paths = self._paths(comparisons)
        self._waiting.clear()
        wanted = [c for c in comparisons if c.run in paths]
        if not wanted:
            return
        sums = self._add_up(wanted, paths)
        rows = paths[REFERENCE][0].rows
        documents = self._plan.sets[wanted[0].documents]
        for c in wanted:
            place = Place(comparison=c, site=SITE, documents=documents.documents)
            matched = of_everything(sums[c.run].matched, documents)
            state = matched.under(documents.weights)
            if not state.finite:
                yield broken(place, state, self._sweep.overflowed.get(c.run, SITE))
                continue
            found = c.analysis.compute(state, NOTHING, NOTHING)
            found = [*found, *c.analysis.compute_overall({SITE: state}, self._texts)]
            by_chance = {}
            if sums[c.run].mismatched.sums:
                mismatched = of_everything(sums[c.run].mismatched, documents)
                other = mismatched.under(np.ones((1, documents.base)))
                by_chance = first_values(c.analysis.compute(other, NOTHING, NOTHING))
            yield measured(place, found, by_chance, len(rows.key))

    def _paths(self, comparisons: Sequence[Comparison]) -> Paths:
        """The sampled activations, one a site, of every run that came to the last site."""
        return {
            run: [self._waiting[LensKey(c.analysis.name, run, name)] for name in c.sites]
            for c in comparisons
            for run in c.runs
            if LensKey(c.analysis.name, run, c.sites[-1]) in self._waiting
        }

    def _add_up(self, wanted: Sequence[Comparison], paths: Paths) -> dict[str, _Sums]:
        analysis, rows = wanted[0].analysis, paths[REFERENCE][0].rows
        shards = self._plan.sets[wanted[0].documents].shards
        # Every position beside the one before it in the sample, the first beside the last.
        end = slice(len(rows.key) - 1, None)
        sums = {
            c.run: _Sums(Accumulator(), Accumulator(), self._logits(c.run, paths, end))
            for c in wanted
        }
        chunk = max(1, self._sweep.chunk // len(wanted[0].sites))
        for begin in range(0, len(rows.key), chunk):
            span = slice(begin, begin + chunk)
            at = sampled_positions(rows, span, shards)
            reference = self._logits(REFERENCE, paths, span)
            for c in wanted:
                own = sums[c.run]
                twin = self._logits(c.run, paths, span)
                pair = ActivationPair(
                    site=SITE,
                    item=c.item,
                    reference=reference,
                    twin=twin,
                    positions=at,
                    threshold=lambda _: EVERYTHING,
                )
                own.matched.add(analysis.update(pair))
                if begin < MISMATCHED and len(rows.key) > 1:
                    other = Activations(torch.cat([own.last.values, twin.values[:-1]]))
                    own.mismatched.add(analysis.update(replace(pair, twin=other)))
                    del other
                # A copy: a view would hold on to all of them. And these go before the next come.
                own.last = Activations(twin.values[-1:].clone())
                del twin, pair
            del reference
        return sums

    def _logits(self, run: str, paths: Paths, span: slice) -> Activations:
        """`[n, sites, vocabulary]`."""
        states = torch.stack([at.states[span] for at in paths[run]], dim=1)
        logits = self._sweep.logits(run, states.flatten(0, 1))
        return Activations(logits.unflatten(0, states.shape[:2]))
