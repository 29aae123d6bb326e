"""Measurement: from the steps of a sweep to values, by depth, with replicates and chance.

At every depth the accumulators are complete once all documents have passed it: one site after
another is finished then, and what it held is let go.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.analysis import Analysis, CorpusReader
from bitlens.engine.categories import by_category, of_everything
from bitlens.engine.chance import MismatchedPositions
from bitlens.engine.comparisons import Comparison
from bitlens.engine.keys import Accumulators, MetricKey, SampleKey
from bitlens.engine.lens_readout import LensReadout
from bitlens.engine.measured import NOTHING, Measured, Place, broken, measured
from bitlens.engine.plan import DocumentSet, Plan
from bitlens.engine.samples import SampledActivations
from bitlens.engine.step import Progress, silent
from bitlens.engine.step_router import sample_key
from bitlens.engine.summation import Summation
from bitlens.engine.swept_model import SweptModel
from bitlens.engine.wave_size import Pace
from bitlens.models.layout import Layout


class Measurement:
    """One sweep of a reference and its twins, from tokens to values.

    `hidden_bytes` bounds the hidden states of a wave; in the folder `partial` accumulators wait
    between waves, and a stopped measurement of the same finds them again.
    """

    def __init__(
        self,
        layout: Layout,
        twins: Mapping[str, SweptModel],
        wanted: Sequence[Comparison],
        plan: Plan,
        hidden_bytes: int,
        partial: Path,
        texts: CorpusReader,
    ) -> None:
        self.plan = plan
        self.wanted = list(wanted)
        self.texts = texts
        self.summation = Summation(layout, twins, self.wanted, plan, hidden_bytes, partial)
        self.sweep = self.summation.sweep
        self._lens = LensReadout(self.sweep, plan, texts)
        self._chance = MismatchedPositions(self.sweep)
        self._states: dict[MetricKey, ReplicateState] = {}
        """Of comparisons that say something of all their sites."""

    @property
    def damage(self) -> str:
        """What a stopped run left and could not be used; empty where nothing is wrong."""
        return self.summation.checkpoint.damage

    def values(
        self, progress: Progress = silent, pace: Pace | None = None, reached: Progress = silent
    ) -> Iterator[Measured]:
        """Every value, site by site as the last wave passes it. `pace`: what bounds waves besides
        memory; `reached` is told the depth that a wave comes to."""
        yield from self.values_of(self.summation.complete(progress, pace, reached))

    def values_of(self, depths: Iterable[Accumulators]) -> Iterator[Measured]:
        """Every value of accumulators that are complete, depth by depth; they are given away."""
        for accumulators in depths:
            yield from self._complete(accumulators)
        yield from self._overall()

    def _complete(self, accumulators: Accumulators) -> Iterator[Measured]:
        self._lens.collect(accumulators)
        by_key = {
            MetricKey(c.analysis.name, c.twin, c.item, s): c for c in self.wanted for s in c.sites
        }
        # Site by site, so that only one site's samples are worked on at a time, and in the order
        # of what is wanted: accumulators from a file come in another.
        for name in dict.fromkeys(key.site for key in by_key if key in accumulators):
            here = [k for k in accumulators if isinstance(k, SampleKey) and k.site == name]
            samples = {
                key: SampledActivations(accumulators.pop(key), self.plan.sets[key.documents].base)
                for key in here
            }
            for key in [key for key in by_key if key.site == name and key in accumulators]:
                comparison = by_key[key]
                whole, documents = accumulators.pop(key), self._documents(comparison)
                state = of_everything(whole, documents).under(documents.weights)
                if type(comparison.analysis).compute_overall is not Analysis.compute_overall:
                    self._states[key] = state
                yield self._finish(comparison, name, (whole, state), samples)

    def _finish(
        self,
        comparison: Comparison,
        name: str,
        summed: tuple[Accumulator, ReplicateState],
        samples: Mapping[SampleKey, SampledActivations],
    ) -> Measured:
        """Values of one comparison at one site, from what was summed of categories and of all."""
        documents, analysis = self._documents(comparison), comparison.analysis
        place = Place(comparison=comparison, site=name, documents=documents.documents)
        whole, state = summed
        if not state.finite:
            return broken(place, state, self.sweep.overflowed.get(comparison.run, name))
        reference, twin = (samples.get(sample_key(comparison, r, name)) for r in comparison.runs)
        if reference is None or twin is None:
            found = measured(place, analysis.compute(state, NOTHING, NOTHING), {})
            kinds = by_category(place, whole, documents, None, None)
        else:
            results = analysis.compute(state, reference.sample, twin.sample)
            mismatched = self._chance.summed(comparison, name, documents.shards, reference, twin)
            together = mismatched and of_everything(mismatched, documents)
            chance = self._chance.chance(comparison, together, documents.base, reference, twin)
            found = measured(place, results, chance, len(reference.rows.key))
            kinds = by_category(place, whole, documents, (reference, twin), mismatched)
        return found if kinds is None else replace(found, shown=[*found.shown, kinds])

    def _overall(self) -> Iterator[Measured]:
        """What is said of all sites together, once all are done."""
        going = [c for c in self.wanted if c.twin not in self.sweep.failed]
        yield from self._lens.measured([c for c in going if c.request.through_unembedding])
        for comparison in going:
            name, twin, item = comparison.analysis.name, comparison.twin, comparison.item
            mine = {
                s: self._states.pop(MetricKey(name, twin, item, s), None) for s in comparison.sites
            }
            kept = {s: state for s, state in mine.items() if state is not None}
            if kept and all(state.finite for state in kept.values()):
                found = comparison.analysis.compute_overall(kept, self.texts)
                documents = self._documents(comparison).documents
                place = Place(comparison=comparison, site="", documents=documents)
                yield measured(place, found, {})

    def _documents(self, comparison: Comparison) -> DocumentSet:
        return self.plan.sets[comparison.documents]
