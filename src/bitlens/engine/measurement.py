"""From the steps of a sweep to values: pairs, tallies by depth, replicates, chance.

At every depth the tallies are complete once all documents have passed it. With one wave that is
at once; with several they are carried from wave to wave in a file per depth, which is also what
lets a killed run go on where it was; waves are small enough that little is lost. Sums are carried
on in the same order whatever the waves, so memory changes no digit.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import EVERYTHING, ActivationPair, Activations, Positions
from bitlens.engine.analysis import Analysis, CorpusReader, Results, Sample
from bitlens.engine.comparisons import Comparison, streams
from bitlens.engine.plan import SUBSET, DocumentSet, Plan, TokenBatch
from bitlens.engine.resume import Key, SweepCheckpoint
from bitlens.engine.samples import SampledActivations, positions_of, rows_of, sample_rows
from bitlens.engine.sweep import REFERENCE, ReadRequest, Step, Sweep
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.engine.wave_size import Pace
from bitlens.models.layout import Layout
from bitlens.models.sites import site
from bitlens.results.records import DetailTable, Metric, MetricResult, Value, overflow

LENS = "through the lens"
"""The item under which sampled positions wait for the unembedding."""
LENS_CHANCE = 64
"""Positions, or a few more, that tell what chance gives through a lens."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What came of a comparison at one site, or of all its sites together."""

    comparison: Comparison
    values: list[Value]
    shown: list[DetailTable]


class Measurement:
    """One sweep of a reference and its twins, from tokens to values."""

    def __init__(
        self,
        layout: Layout,
        twins: Mapping[str, SweptModel],
        wanted: Sequence[Comparison],
        plan: Plan,
        hidden_bytes: int,
        partial: Path,
        texts: CorpusReader,
        progress: Callable[[int], None] = lambda tokens: None,
        pace: Pace | None = None,
    ) -> None:
        self.layout = layout
        self.plan = plan
        self.wanted = list(wanted)
        self.texts = texts
        self.pace = pace
        """What bounds waves besides memory; None: nothing."""
        read = {c.read for c in wanted}
        batches = [b for b in plan.batches if b.documents in read]
        self._carry = SweepCheckpoint(partial, batches)
        self.sweep = Sweep(
            layout,
            {REFERENCE: Reference(layout), **twins},
            streams(wanted),
            [w for c in wanted for w in _wishes(c)],
            batches[self._carry.batches_done :],
            hidden_bytes,
            progress,
        )
        self.sweep.overflowed |= self._carry.overflowed
        self.damage = self._carry.damage
        """What a stopped run left and could not be used; empty where nothing is wrong."""
        self._totals: dict[Key, ReplicateState] = {}
        """Of comparisons that compute_overall from all their sites."""
        self._paths: dict[Key, SampledActivations] = {}
        """Sampled positions at every site that a lens looks at, until the deepest is done."""

    def values(self) -> Iterator[Measured]:
        """Every value, site by site as the last wave passes it."""
        swept = 0
        while swept < len(self.sweep.batches):
            began = time.monotonic()
            wave = self.sweep.next_wave(swept, self.pace.most if self.pace else None)
            swept += len(wave)
            last = swept == len(self.sweep.batches)
            depth = -2
            passed = {depth}
            tallies: dict[Key, Accumulator] = {}
            for step in self.sweep.run(wave):
                if step.depth != depth:
                    yield from self._complete(depth, tallies, last)
                    depth, tallies = step.depth, self._carry.load(step.depth)
                    passed.add(depth)
                self._tally(step, tallies)
                del step
            yield from self._complete(depth, tallies, last)
            # A wave may have nothing to predict; what the waves before it had is not lost.
            for depth in range(-1, self.layout.depth + 1):
                if depth not in passed:
                    yield from self._complete(depth, self._carry.load(depth), last)
            if not last:
                done = self._carry.batches_done + len(wave)
                self._carry.wave_done(done, self.sweep.overflowed)
                if self.pace:
                    tokens = sum(batch.tokens.numel() for batch in wave)
                    self.pace.took(tokens, time.monotonic() - began)
        yield from self._conclude()

    def _complete(
        self, depth: int, tallies: dict[Key, Accumulator], last: bool
    ) -> Iterator[Measured]:
        if not last:
            self._carry.save(depth, tallies)
            return
        for key in [key for key in tallies if key[2] == LENS]:
            self._paths[key] = SampledActivations(tallies.pop(key))
        by_key = {(c.analysis.name, c.twin, c.item, s): c for c in self.wanted for s in c.sites}
        # Site by site, so that only one site's samples are worked on at a time, and in the order
        # of what is wanted: tallies from a file come in another.
        for name in dict.fromkeys(key[3] for key in by_key if key in tallies):
            here = [key for key in tallies if key[3] == name and key not in by_key]
            samples = {key: SampledActivations(tallies.pop(key)) for key in here}
            for key in [key for key in by_key if key[3] == name and key in tallies]:
                comparison = by_key[key]
                pair = [samples.get(_sample_key(comparison, s, name)) for s in comparison.streams]
                totals = tallies.pop(key).totals(self._documents(comparison).weights)
                if type(comparison.analysis).compute_overall is not Analysis.compute_overall:
                    self._totals[key] = totals
                yield self._finish(comparison, name, totals, *pair)

    def _conclude(self) -> Iterator[Measured]:
        """What is said of all sites together, once all are done."""
        going = [c for c in self.wanted if c.twin not in self.sweep.failed]
        yield from self._through_lens([c for c in going if c.analysis.lens])
        for comparison in going:
            name, twin, item = comparison.analysis.name, comparison.twin, comparison.item
            mine = {s: self._totals.pop((name, twin, item, s), None) for s in comparison.sites}
            kept = {s: totals for s, totals in mine.items() if totals is not None}
            if kept and all(totals.finite for totals in kept.values()):
                found = comparison.analysis.compute_overall(kept, self.texts)
                yield self._measured(comparison, "", found, {})

    def _tally(self, step: Step, tallies: dict[Key, Accumulator]) -> None:
        """Every pair of this step into its tally. Readings are flattened once a stream."""
        flat: dict[tuple[str, str], Activations] = step.shared.setdefault("flat", {})
        sampled: set[Key] = step.shared.setdefault("sampled", set())

        def reading(stream: str, name: str) -> Activations:
            if (stream, name) not in flat:
                flat[(stream, name)] = _flatten(step, stream, name)
            return flat[(stream, name)]

        for stream in step.activations:
            for comparison in self.wanted:
                if comparison.stream == stream and _reads(comparison, step.batch):
                    if comparison.analysis.lens:
                        self._sample_path(step, comparison, tallies, sampled)
                    else:
                        self._tally_one(step, comparison, reading, tallies, sampled)
            # Only readings of the reference and its forks serve more than one twin.
            for key in [k for k in flat if self.sweep.stream(k[0]).source != REFERENCE]:
                del flat[key]

    def _tally_one(
        self,
        step: Step,
        comparison: Comparison,
        reading: Callable[[str, str], Activations],
        tallies: dict[Key, Accumulator],
        sampled: set[Key],
    ) -> None:
        positions = self.plan.positions_of(step.batch, step.index, comparison.documents)
        if not len(positions):
            return
        documents = self._documents(comparison)
        for name in comparison.sites:
            if name not in step.activations[comparison.stream]:
                continue

            alone = comparison.alone[name].name if name in comparison.alone else ""

            def threshold(size: int, predicting: bool = name == "logits") -> int:
                return documents.threshold(predicting, size)

            branches = {
                who: self._of_fork(step, comparison, branch.name, name, positions)
                for who, branch in comparison.branches.items()
            }
            pair = ActivationPair(
                name,
                comparison.item,
                reading(REFERENCE, name),
                reading(comparison.stream, name),
                positions,
                threshold,
                branches,
                reading(alone, name) if name in step.activations.get(alone, ()) else None,
            )
            key = (comparison.analysis.name, comparison.twin, comparison.item, name)
            tallies.setdefault(key, Accumulator()).add(comparison.analysis.update(pair))
            for stream in comparison.streams if comparison.analysis.sample else ():
                sample = _sample_key(comparison, stream, name)
                if sample not in sampled:
                    sampled.add(sample)
                    # Of logits, the states they are made of: a vocabulary is much wider than a
                    # model.
                    of = reading(stream, "final" if name == "logits" else name)
                    rows = sample_rows(pair, of, comparison.analysis.sample)
                    tallies.setdefault(sample, Accumulator()).add(
                        Accumulator(rows={"sample": [rows]})
                    )

    def _of_fork(
        self, step: Step, comparison: Comparison, branch: str, name: str, positions: Positions
    ) -> Tensor:
        """What an analysis makes of a fork: once for all twins, and its reading is let go."""
        made: dict[Key, Tensor] = step.shared.setdefault("forks", {})
        key = (comparison.analysis.name, branch, comparison.documents, name)
        if key not in made:
            made[key] = comparison.analysis.of_fork(_flatten(step, branch, name), positions)
        return made[key]

    def _sample_path(
        self, step: Step, comparison: Comparison, tallies: dict[Key, Accumulator], sampled: set[Key]
    ) -> None:
        """The states of a lens' sample, which wait for the unembedding until all are there."""
        documents = self._documents(comparison)
        size = comparison.analysis.sampled(len(documents.keys[True]))
        index = step.batch.logits_index
        chosen = index[step.batch.key[index] <= documents.threshold(True, size)]
        for stream in comparison.streams:
            for name in comparison.sites:
                key = _path_key(stream, comparison, name)
                if name in step.activations[stream] and key not in sampled:
                    sampled.add(key)
                    states = step.activations[stream][name].flatten(0, 1)[chosen]
                    at = self.plan.positions_of(step.batch, chosen, comparison.documents)
                    rows = Accumulator(rows={"sample": [rows_of(at, states)]})
                    tallies.setdefault(key, Accumulator()).add(rows)

    def _documents(self, comparison: Comparison) -> DocumentSet:
        return self.plan.sets[comparison.documents]

    def _finish(
        self,
        comparison: Comparison,
        name: str,
        totals: ReplicateState,
        reference: SampledActivations | None,
        twin: SampledActivations | None,
    ) -> Measured:
        if not totals.finite:
            return self._broken(comparison, name, totals)
        if reference is None or twin is None:
            found = comparison.analysis.compute(totals, _NOTHING, _NOTHING)
            return self._measured(comparison, name, found, {})
        found = comparison.analysis.compute(totals, reference.sample, twin.sample)
        by_chance = self._by_chance(comparison, name, reference, twin)
        return self._measured(comparison, name, found, by_chance, len(reference.rows.key))

    def _broken(self, comparison: Comparison, name: str, totals: ReplicateState) -> Measured:
        """Of a twin that overflows: what is the reference's own, and why the rest is not there."""
        reason = overflow(self.sweep.overflowed.get(comparison.stream, name))
        with np.errstate(all="ignore"):
            found = comparison.analysis.compute(totals, _NOTHING, _NOTHING)
        kept: Results = [
            one if _of_the_reference(one) else replace(one, values=None, chance=None, reason=reason)
            for one in found
            if isinstance(one, MetricResult)
        ]
        told = {one.metric for one in kept if isinstance(one, MetricResult)}
        names = [m.name for m in comparison.analysis.metrics if m.name not in told]
        kept += [MetricResult(metric, None, reason=reason) for metric in names]
        return self._measured(comparison, name, kept, {})

    def _measured(
        self,
        comparison: Comparison,
        name: str,
        found: Results,
        by_chance: Mapping[tuple[str, str, str], float],
        sampled: int = 0,
    ) -> Measured:
        documents = self._documents(comparison).documents
        default = comparison.item if comparison.analysis.local else ""
        told = {m.name for m in comparison.analysis.metrics if _has_chance(m, sampled)}
        told -= comparison.analysis.unpaired
        values, shown = [], []
        for one in found:
            if isinstance(one, DetailTable):
                shown.append(one)
                continue
            place = (one.metric, one.site, one.item)
            measured = by_chance.get(place) if one.metric in told else None
            chance = one.chance if one.chance is not None else measured
            values.append(_value(one, one.site or name, one.item or default, chance, documents))
        return Measured(comparison, values, shown)

    @torch.no_grad()
    def _by_chance(
        self,
        comparison: Comparison,
        name: str,
        reference: SampledActivations,
        twin: SampledActivations,
    ) -> dict[tuple[str, str, str], float]:
        """What every metric is when the twin is looked at in another position than the
        reference: the same analysis on mismatched rows of the sample."""
        rows = reference.rows
        if len(rows.key) < 2:
            return {}
        analysis, shards = comparison.analysis, self._documents(comparison).shards
        tally = Accumulator()
        for part in self._mismatched(comparison, name, reference, twin):
            span, of_reference, of_twin = part
            at = positions_of(rows, span, shards)
            pair = ActivationPair(
                name, comparison.item, of_reference, of_twin, at, lambda size: EVERYTHING
            )
            tally.add(analysis.update(pair))
            # Before the next logits are computed.
            del part, of_reference, of_twin, pair
        totals = tally.totals(np.ones((1, shards)))
        found = analysis.compute(totals, reference.sample, twin.sample.mismatched())
        return _first_values(found)

    def _mismatched(
        self,
        comparison: Comparison,
        name: str,
        reference: SampledActivations,
        twin: SampledActivations,
    ) -> Iterator[tuple[slice, Activations, Activations]]:
        if name == "logits":
            mismatched = twin.states.roll(1, dims=0)
            for begin in range(0, len(mismatched), self.sweep.chunk):
                span = slice(begin, begin + self.sweep.chunk)
                yield (
                    span,
                    self._logits(REFERENCE, reference.states[span]),
                    self._logits(comparison.stream, mismatched[span]),
                )
        elif comparison.analysis.patterns:
            # As many keys as the reference had, or nearly: the next of those sorted by place.
            order = torch.argsort(reference.rows.values["offset"], stable=True)
            partner = torch.empty_like(order)
            partner[order] = order.roll(1)
            index = torch.arange(len(order), device=order.device)
            whole = [v.unsqueeze(2) for v in (reference.states, twin.states[partner])]
            yield slice(None), Activations(whole[0], index), Activations(whole[1], index)
        else:
            yield slice(None), reference.reading, Activations(twin.reading.values.roll(1, dims=0))

    @torch.no_grad()
    def _through_lens(self, wanted: Sequence[Comparison]) -> Iterator[Measured]:
        """Sampled positions at all sites through the unembedding: the reference's once for all
        twins, a few positions at a time."""
        paths = {
            stream: [self._paths[_path_key(stream, c, s)] for s in c.sites]
            for c in wanted
            for stream in c.streams
            if _path_key(stream, c, c.sites[-1]) in self._paths
        }
        self._paths.clear()
        wanted = [c for c in wanted if c.stream in paths]
        if not wanted:
            return
        analysis, documents = wanted[0].analysis, self._documents(wanted[0])
        rows = paths[REFERENCE][0].rows
        tallies = {c.stream: (Accumulator(), Accumulator()) for c in wanted}
        # Every position beside the one before it in the sample, the first beside the last.
        end = slice(len(rows.key) - 1, None)
        last = {c.stream: self._path_logits(c.stream, paths[c.stream], end).values for c in wanted}
        chunk = max(1, self.sweep.chunk // len(wanted[0].sites))
        for begin in range(0, len(rows.key), chunk):
            span = slice(begin, begin + chunk)
            at = positions_of(rows, span, documents.shards)
            reference = self._path_logits(REFERENCE, paths[REFERENCE], span)
            for c in wanted:
                twin = self._path_logits(c.stream, paths[c.stream], span)
                matched, mismatched = tallies[c.stream]
                pair = ActivationPair("resid", c.item, reference, twin, at, lambda size: EVERYTHING)
                matched.add(analysis.update(pair))
                if begin < LENS_CHANCE and len(rows.key) > 1:
                    other = Activations(torch.cat([last[c.stream], twin.values[:-1]]))
                    mismatched.add(analysis.update(replace(pair, twin=other)))
                    del other
                # A copy: a view would hold on to all of them. And these go before the next come.
                last[c.stream] = twin.values[-1:].clone()
                del twin, pair
            del reference
        for c in wanted:
            matched, mismatched = tallies[c.stream]
            totals = matched.totals(documents.weights)
            if not totals.finite:
                yield self._broken(c, "resid", totals)
                continue
            found = analysis.compute(totals, _NOTHING, _NOTHING)
            found = [*found, *analysis.compute_overall({"resid": totals}, self.texts)]
            by_chance = {}
            if mismatched.sums:
                other_totals = mismatched.totals(np.ones((1, documents.shards)))
                by_chance = _first_values(analysis.compute(other_totals, _NOTHING, _NOTHING))
            yield self._measured(c, "resid", found, by_chance, len(rows.key))

    def _path_logits(self, stream: str, path: list[SampledActivations], span: slice) -> Activations:
        """`[n, sites, vocabulary]`."""
        states = torch.stack([at.states[span] for at in path], dim=1)
        logits = self.sweep.logits(self.sweep.stream(stream), states.flatten(0, 1))
        return Activations(logits.unflatten(0, states.shape[:2]))

    def _logits(self, stream: str, states: Tensor) -> Activations:
        return Activations(self.sweep.logits(self.sweep.stream(stream), states))


def _wishes(comparison: Comparison) -> list[ReadRequest]:
    sites = frozenset(comparison.sites)
    branches = [branch.name for branch in comparison.besides]
    return [
        ReadRequest(stream, sites, comparison.read) for stream in (*comparison.streams, *branches)
    ]


def _reads(comparison: Comparison, batch: TokenBatch) -> bool:
    """Whether a batch's documents are of the set that is compared on."""
    subset = comparison.documents == SUBSET
    return comparison.read == batch.documents and (batch.subset or not subset)


def _flatten(step: Step, stream: str, name: str) -> Activations:
    values = step.activations[stream][name]
    if name not in ("logits", "final"):
        if site(name).kind == "pattern":
            return Activations(values.float(), step.index)
        values = values.flatten(0, 1)[step.index.to(values.device)]
    # Final states go back through the unembedding, in their own dtype.
    return Activations(values if name == "final" else values.float())


def _sample_key(comparison: Comparison, stream: str, name: str) -> Key:
    return (f"sample of {comparison.analysis.sample}", stream, comparison.documents, name)


def _path_key(stream: str, comparison: Comparison, name: str) -> Key:
    return (comparison.analysis.name, stream, LENS, name)


_NOTHING = Sample(np.empty((0, 0), np.float32), np.empty(0, np.int64))


def _has_chance(metric: Metric, sampled: int) -> bool:
    """Whether a sample of positions can tell what chance gives: not of a level, and not of an
    extreme or a percentile that the sample is too small to have."""
    if metric.level or not metric.interval:
        return False
    return metric.quantile is None or min(metric.quantile, 1 - metric.quantile) * sampled >= 1


def _of_the_reference(one: MetricResult) -> bool:
    """Whether a number is of the reference alone, and exists."""
    own = one.item == REFERENCE or one.item.endswith(f", {REFERENCE}")
    return own and one.values is not None and bool(np.all(np.isfinite(one.values)))


def _first_values(found: Results) -> dict[tuple[str, str, str], float]:
    return {
        (o.metric, o.site, o.item): float(o.values[0])
        for o in found
        if isinstance(o, MetricResult) and o.values is not None and np.isfinite(o.values[0])
    }


def _value(
    outcome: MetricResult, name: str, item: str, chance: float | None, documents: int
) -> Value:
    values, reason = outcome.values, outcome.reason
    if values is not None and not np.all(np.isfinite(values)):
        values, reason = None, "not finite for every replicate"
    if values is None:
        return Value(outcome.metric, name, item, None, (), chance, documents, reason)
    replicates = tuple(values[1:].tolist())
    return Value(outcome.metric, name, item, float(values[0]), replicates, chance, documents)
