"""From the steps of a sweep to values: pairs, tallies by depth, replicates, chance.

At every depth the tallies are complete once all documents have passed it. With one wave that is
at once; with several they are carried from wave to wave in a file per depth, which is also what
lets a killed run go on where it was. Sums are carried on in the same order whatever the waves,
so memory changes no digit.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bitlens.analyses.analysis import Analysis, Outcome, Sample
from bitlens.models.layout import Layout
from bitlens.models.sites import site
from bitlens.plan import DocumentSet, Plan, TokenBatch
from bitlens.readings import Pair, Positions, Reading
from bitlens.records import Metric, Value, to_json
from bitlens.sweep import REFERENCE, Step, Stream, Sweep, Wish
from bitlens.tally import Rows, Tally
from bitlens.twin import Twin

CUMULATIVE, LOCAL = "cumulative", "local"
Key = tuple[str, str, str, str]
"""Analysis, twin, item, site."""


@dataclass(frozen=True)
class Comparison:
    """Which two streams an analysis compares, and where."""

    analysis: Analysis
    twin: str
    item: str
    stream: str
    sites: tuple[str, ...]

    @property
    def subset(self) -> bool:
        return self.item == LOCAL

    @property
    def streams(self) -> tuple[str, str]:
        return REFERENCE, self.stream


def comparisons(
    analyses: Sequence[Analysis], twins: Sequence[str], sites: Mapping[str, Sequence[str]]
) -> list[Comparison]:
    """What is to be compared. `sites`: by analysis, where it looks (already narrowed by the
    user)."""
    found = []
    for analysis in analyses:
        names = tuple(sites[analysis.name])
        for twin in twins:
            found.append(Comparison(analysis, twin, CUMULATIVE, twin, names))
            depths = sorted({site(name).depth for name in names}) if analysis.local else []
            for depth in depths:
                here = tuple(name for name in names if site(name).depth == depth)
                fork = f"{twin} block {depth} on the reference"
                found.append(Comparison(analysis, twin, LOCAL, fork, here))
    return found


def streams(wanted: Sequence[Comparison]) -> list[Stream]:
    """The reference, every twin, and a fork a block where local errors are asked for."""
    found = {REFERENCE: Stream(REFERENCE, REFERENCE)}
    for comparison in wanted:
        if comparison.item == LOCAL:
            depth = site(comparison.sites[0]).depth
            found.setdefault(
                comparison.stream,
                Stream(
                    comparison.stream, comparison.twin, REFERENCE, depth, depth + 1, subset=True
                ),
            )
        else:
            found.setdefault(comparison.twin, Stream(comparison.twin, comparison.twin))
    return list(found.values())


class Measurement:
    """One sweep of a reference and its twins, from tokens to values."""

    def __init__(
        self,
        layout: Layout,
        twins: Mapping[str, Twin],
        wanted: Sequence[Comparison],
        plan: Plan,
        hidden_bytes: int,
        partial: Path,
        progress: Callable[[int], None] = lambda tokens: None,
    ) -> None:
        self.layout = layout
        self.plan = plan
        self.wanted = list(wanted)
        wishes = [Wish(c.stream, frozenset(c.sites)) for c in wanted]
        wishes += [Wish(REFERENCE, frozenset(c.sites)) for c in wanted]
        everyone = {REFERENCE: Twin(layout, None), **twins}
        self._carry = Carry(partial, plan.batches)
        left = plan.batches[self._carry.batches_done :]
        self.sweep = Sweep(layout, everyone, streams(wanted), wishes, left, hidden_bytes, progress)
        self.sweep.overflowed |= self._carry.overflowed

    def values(self) -> Iterator[tuple[Comparison, list[Value]]]:
        """Every value, site by site as the last wave passes it."""
        for number, wave in enumerate(self.sweep.waves):
            last = number == len(self.sweep.waves) - 1
            depth = -2
            passed = {depth}
            tallies: dict[Key, Tally] = {}
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
                self._carry.wave_done(wave[-1].number + 1, self.sweep.overflowed)

    def _complete(
        self, depth: int, tallies: dict[Key, Tally], last: bool
    ) -> Iterator[tuple[Comparison, list[Value]]]:
        if not last:
            self._carry.save(depth, tallies)
            return
        by_key = {(c.analysis.name, c.twin, c.item, s): c for c in self.wanted for s in c.sites}
        # Site by site, so that only one site's samples are worked on at a time, and in the order
        # of what is wanted: tallies from a file come in another.
        for name in dict.fromkeys(key[3] for key in by_key if key in tallies):
            here = [key for key in tallies if key[3] == name and key not in by_key]
            samples = {key: _Sampled(tallies.pop(key)) for key in here}
            for key in [key for key in by_key if key[3] == name and key in tallies]:
                comparison = by_key[key]
                pair = [samples[_sample_key(comparison, s, name)] for s in comparison.streams]
                yield comparison, self._finish(comparison, name, tallies.pop(key), *pair)

    def _tally(self, step: Step, tallies: dict[Key, Tally]) -> None:
        """Every pair of this step into its tally. Readings are flattened once a stream."""
        flat: dict[tuple[str, str], Reading] = {}
        sampled: set[Key] = set()

        def reading(stream: str, name: str) -> Reading:
            if (stream, name) not in flat:
                flat[(stream, name)] = _flatten(step, stream, name)
            return flat[(stream, name)]

        for stream in step.readings:
            for comparison in self.wanted:
                if comparison.stream == stream:
                    self._tally_one(step, comparison, reading, tallies, sampled)
            if stream != REFERENCE:
                # Only the reference's readings serve more than one stream.
                for key in [k for k in flat if k[0] == stream]:
                    del flat[key]

    def _tally_one(
        self,
        step: Step,
        comparison: Comparison,
        reading: Callable[[str, str], Reading],
        tallies: dict[Key, Tally],
        sampled: set[Key],
    ) -> None:
        positions = self.plan.positions_of(step.batch, step.index, comparison.subset)
        if not len(positions):
            return
        for name in comparison.sites:
            if name not in step.readings[comparison.stream]:
                continue
            pair = Pair(
                name,
                comparison.item,
                reading(REFERENCE, name),
                reading(comparison.stream, name),
                positions,
                self._thresholds(name, comparison.subset),
            )
            key = (comparison.analysis.name, comparison.twin, comparison.item, name)
            tallies.setdefault(key, Tally()).add(comparison.analysis.tally(pair))
            for stream in comparison.streams:
                sample = _sample_key(comparison, stream, name)
                if sample not in sampled:
                    sampled.add(sample)
                    # Of logits, the states they are made of: a vocabulary is much wider than a
                    # model.
                    of = reading(stream, "final" if name == "logits" else name)
                    rows = _sample_rows(pair, of, comparison.analysis.sample)
                    tallies.setdefault(sample, Tally()).add(Tally(rows={"sample": [rows]}))

    def _thresholds(self, name: str, subset: bool) -> dict[int, int]:
        documents = self.plan.subset if subset else self.plan.all
        predicting = name == "logits"
        return {k: t for (p, k), t in documents.thresholds.items() if p == predicting}

    def _finish(
        self,
        comparison: Comparison,
        name: str,
        tally: Tally,
        reference: "_Sampled",
        twin: "_Sampled",
    ) -> list[Value]:
        documents = self.plan.subset if comparison.subset else self.plan.all
        item = comparison.item if comparison.analysis.local else ""
        if not all(bool(torch.isfinite(total).all()) for total in tally.sums.values()):
            after = self.sweep.overflowed.get(comparison.stream)
            reason = f"the twin's activations are not finite{f' from {after} on' if after else ''}"
            return [
                _value(Outcome(metric.name, None, reason=reason), name, item, None, documents)
                for metric in comparison.analysis.metrics
            ]
        totals = tally.totals(documents.weights)
        outcomes = comparison.analysis.finish(totals, reference.sample, twin.sample)
        by_chance = self._by_chance(comparison, name, reference, twin, documents)
        told = {
            metric.name
            for metric in comparison.analysis.metrics
            if _has_chance(metric, len(reference.rows.key))
        }
        by_chance = {key: value for key, value in by_chance.items() if key[0] in told}
        return [
            _value(o, name, item, by_chance.get((o.metric, o.item)), documents) for o in outcomes
        ]

    @torch.no_grad()
    def _by_chance(
        self,
        comparison: Comparison,
        name: str,
        reference: "_Sampled",
        twin: "_Sampled",
        documents: DocumentSet,
    ) -> dict[tuple[str, str], float]:
        """What every metric is when the twin is looked at in another position than the
        reference: the same analysis on mismatched rows of the sample."""
        rows = reference.rows
        if len(rows.key) < 2:
            return {}
        tally = Tally()
        mismatched = twin.rows.values["states"].roll(1, dims=0)
        everything = {size: torch.iinfo(torch.int64).max for _, size in documents.thresholds}
        for part in self._readable(comparison, name, rows.values["states"], mismatched):
            span, of_reference, of_twin = part
            place = torch.zeros_like(rows.key[span])
            positions = Positions(
                place,
                rows.shard[span],
                documents.shards,
                place,
                rows.values["target"][span],
                rows.key[span],
            )
            pair = Pair(name, comparison.item, of_reference, of_twin, positions, everything)
            tally.add(comparison.analysis.tally(pair))
        totals = tally.totals(np.ones((1, documents.shards)))
        return {
            (o.metric, o.item): float(o.values[0])
            for o in comparison.analysis.finish(totals, reference.sample, twin.sample.mismatched())
            if o.values is not None and np.isfinite(o.values[0])
        }

    def _readable(
        self, comparison: Comparison, name: str, reference: Tensor, twin: Tensor
    ) -> Iterator[tuple[slice, Reading, Reading]]:
        if name != "logits":
            yield slice(None), Reading(reference), Reading(twin)
            return
        chunk = self.sweep.chunk
        for begin in range(0, len(reference), chunk):
            span = slice(begin, begin + chunk)
            yield (
                span,
                Reading(self.sweep.logits(self.sweep.stream(REFERENCE), reference[span])),
                Reading(self.sweep.logits(self.sweep.stream(comparison.stream), twin[span])),
            )


def _flatten(step: Step, stream: str, name: str) -> Reading:
    values = step.readings[stream][name]
    if name not in ("logits", "final"):
        values = values.flatten(0, 1)[step.index.to(values.device)]
    # Final states go back through the unembedding, in their own dtype.
    return Reading(values if name == "final" else values.float())


def _sample_key(comparison: Comparison, stream: str, name: str) -> Key:
    documents = "subset" if comparison.subset else "all"
    return (f"sample of {comparison.analysis.sample}", stream, documents, name)


def _sample_rows(pair: Pair, reading: Reading, size: int) -> Rows:
    at = pair.positions
    chosen = torch.nonzero(at.key <= pair.thresholds[size]).flatten()
    values = {"states": reading.values[chosen], "target": at.target[chosen]}
    return Rows(at.key[chosen], at.shard[chosen], values)


class _Sampled:
    """The sampled positions of one stream at one site, complete."""

    def __init__(self, tally: Tally) -> None:
        self.rows = tally.sample("sample")
        states = self.rows.values["states"].float().cpu().numpy()
        self.sample = Sample(states, self.rows.shard.cpu().numpy())


def _has_chance(metric: Metric, sampled: int) -> bool:
    """Whether a sample of positions can tell what chance gives: not of a level, and not of an
    extreme or a percentile that the sample is too small to have."""
    if metric.level or not metric.interval:
        return False
    return metric.quantile is None or min(metric.quantile, 1 - metric.quantile) * sampled >= 1


def _value(
    outcome: Outcome, name: str, item: str, by_chance: float | None, documents: DocumentSet
) -> Value:
    chance = outcome.chance if outcome.chance is not None else by_chance
    item, n = outcome.item or item, documents.documents
    values, reason = outcome.values, outcome.reason
    if values is not None and not np.all(np.isfinite(values)):
        values, reason = None, "not finite for every replicate"
    if values is None:
        return Value(outcome.metric, name, item, None, (), chance, n, reason)
    replicates = tuple(values[1:].tolist())
    return Value(outcome.metric, name, item, float(values[0]), replicates, chance, n)


class Carry:
    """Tallies between waves, a file a depth, and how many batches they hold.

    A wave writes beside what the wave before it left; only when it is complete does it count.
    """

    def __init__(self, folder: Path, batches: Sequence[TokenBatch]) -> None:
        self._folder = folder
        self._state = folder / "waves.json"
        self._shapes = [list(batch.tokens.shape) for batch in batches]
        self._device = str(batches[0].tokens.device)
        self.batches_done = 0
        self.overflowed: dict[str, str] = {}
        self._generation = 0
        if self._state.exists():
            state = json.loads(self._state.read_text())
            if state["shapes"] == self._shapes:
                self.batches_done, self._generation = state["batches"], state["generation"]
                self.overflowed = state["overflowed"]
            else:
                # Another device has batches of another size: half of those is no half of these.
                for file in folder.iterdir():
                    file.unlink()

    def _path(self, depth: int, generation: int) -> Path:
        return self._folder / f"{generation}-{depth + 1}.safetensors"

    def load(self, depth: int) -> dict[Key, Tally]:
        path = self._path(depth, self._generation)
        if not path.exists():
            return {}
        parts: dict[Key, dict[str, Tensor]] = {}
        for name, tensor in load_file(path, device=self._device).items():
            *key, rest = name.split("\x1f")
            parts.setdefault((key[0], key[1], key[2], key[3]), {})[rest] = tensor
        return {key: Tally.from_tensors(tensors) for key, tensors in parts.items()}

    def save(self, depth: int, tallies: Mapping[Key, Tally]) -> None:
        if not tallies:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            "\x1f".join([*key, name]): tensor
            for key, tally in tallies.items()
            for name, tensor in tally.tensors().items()
        }
        path = self._path(depth, self._generation + 1)
        save_file(tensors, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def wave_done(self, batches: int, overflowed: Mapping[str, str]) -> None:
        temporary = self._state.with_suffix(".tmp")
        state = {
            "batches": batches,
            "generation": self._generation + 1,
            "shapes": self._shapes,
            "overflowed": dict(overflowed),
        }
        temporary.write_text(to_json(state))
        os.replace(temporary, self._state)
        for old in self._folder.glob(f"{self._generation}-*.safetensors"):
            old.unlink()
        self.batches_done, self._generation = batches, self._generation + 1
