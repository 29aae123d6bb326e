"""Stages of a sensitivity run: first all units on a quarter of the documents, then on half, then on
all; one that surely matters less than those that are sought leaves after a stage.

What a stage sums up is added to that of the stages before: a unit that stays is read on every
document once, and its numbers are those of a run without stages, but for rounding.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bitlens.compression.twin import CompressedTwin
from bitlens.engine.comparisons import Comparison, forward_runs
from bitlens.engine.keys import Accumulators
from bitlens.engine.measurement import Measurement
from bitlens.engine.parts import PartedSums
from bitlens.engine.plan import CORPUS, Plan
from bitlens.engine.wave_size import Pace, block_tokens
from bitlens.errors import InputError
from bitlens.progress import ProgressBar
from bitlens.results.counts import count
from bitlens.results.files.names import inside
from bitlens.results.records import FEWEST, Value
from bitlens.results.sensitivity.measures import MEASURES, READ
from bitlens.results.sensitivity.records import Effect
from bitlens.results.stats.intervals import BOUNDS, LEVEL
from bitlens.workflows.audit.measure import required_memory
from bitlens.workflows.audit.selection import Selection
from bitlens.workflows.sensitivity.effects import Values, damage, effects_of, over_items
from bitlens.workflows.sensitivity.forks import Fork, Forks, comparisons_of
from bitlens.workflows.session import Log, Session

SHARES = (4, 2, 1)
"""A stage ends after one document in so many."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage:
    """What was measured up to a stage's end."""

    documents: int
    """Read so far, copies counted once."""
    values: Values
    """Of all forks that were read in it, on all documents so far."""
    forks: Sequence[Fork]
    """Those that were read in it."""
    leaving: Sequence[Fork]
    """Those of them whose numbers these are: they are read no further."""
    told: np.ndarray
    """`[replicates]`: which leave out a document that was read."""
    passes: float
    """Forwards of all documents that it took, the reference's included."""


@dataclass(eq=False, kw_only=True)
class Staged:
    """A sweep in stages. `top`: how many units are sought, the first measure's largest."""

    session: Session
    selection: Selection
    forks: Forks
    measure: str
    top: int
    folder: Path
    """Where sums wait: a stopped run goes on after its last whole wave."""

    def stages(self) -> Iterator[Stage]:
        """Every stage, when its documents are read. BitlensError where the memory allowed is too
        little, and for a compression that does not fit a unit."""
        active: Sequence[Fork] = self.forks.all
        ends = self._ends()
        before: list[Measurement] = []
        for number, end in enumerate(ends):
            plan = self._plan(ends[number - 1] if number else 0, end)
            measurement = self._measurement(plan, active, number)
            passed = block_tokens(
                measurement.sweep.batches, measurement.sweep.runs, self.session.layout.depth
            )
            with ProgressBar(f"stage {number + 1} of {len(ends)}", "tokens", passed) as bar:
                tokens = sum(batch.tokens.numel() for batch in measurement.sweep.batches)
                measurement.summation.leave(bar.add, Pace(tokens, None))
            refuse_failed(measurement)
            before.append(measurement)
            values = self._values(before)
            told = self._told(end)
            last = number == len(ends) - 1
            leaving = active if last else self._losers(active, values, told)
            passes = block_tokens(
                measurement.summation.batches, measurement.sweep.runs, self.session.layout.depth
            )
            yield Stage(
                documents=end,
                values=values,
                forks=active,
                leaving=leaving,
                told=told,
                passes=passes / (self._tokens * self.session.layout.depth),
            )
            active = [fork for fork in active if fork not in leaving]

    @property
    def _tokens(self) -> int:
        """Tokens of the corpus, padding included."""
        batches = self.selection.plan.batches
        return sum(batch.tokens.numel() for batch in batches if batch.documents == CORPUS)

    @property
    def unstaged(self) -> float:
        """Forwards of all documents that it would take without stages."""
        depth = self.session.layout.depth
        wanted = comparisons_of(self.forks.all, self.selection)
        passed = block_tokens(self.selection.plan.batches, forward_runs(wanted), depth)
        return passed / (self._tokens * depth)

    @property
    def units(self) -> np.ndarray:
        """Documents, copies counted once, in the order of their hashes."""
        corpus = self.session.corpus
        return np.unique(corpus.unit[np.unique(corpus.document)])

    def _ends(self) -> list[int]:
        """After how many documents each stage ends; one of few documents tells nothing surely."""
        whole = len(self.units)
        early = [whole // share for share in SHARES if share > 1 and whole // share >= FEWEST]
        return [*early, whole]

    def _plan(self, begin: int, end: int) -> Plan:
        """The documents between two ends, in the shards that they have among all."""
        some = self.session.corpus.of_units(self.units[begin:end])
        batches = self.session.plan(some, own=None if begin else self.selection.own).batches
        sets = dict(self.selection.plan.sets)
        sets[CORPUS] = replace(sets[CORPUS], documents=end)
        return Plan(batches, sets)

    def _measurement(self, plan: Plan, active: Sequence[Fork], number: int) -> Measurement:
        wanted = self._wanted(active, plan)
        names = {name for f in active for name in (f.run.model, f.run.base_model)}
        models = {name: model for name, model in self.forks.models.items() if name in names}
        shells = sum(m.held_bytes for m in models.values() if isinstance(m, CompressedTwin))
        session = self.session
        budget = required_memory(session, replace(self.selection, plan=plan), wanted, shells)
        return Measurement(
            session.layout,
            models,
            wanted,
            plan,
            hidden_bytes=budget.room(session.memory),
            partial=inside(self.folder, f"stage-{number + 1}"),
            texts=session.texts,
        )

    def _wanted(self, active: Sequence[Fork], plan: Plan) -> list[Comparison]:
        """Documents of an analysis' own are read once, in the first stage."""
        here = {batch.documents for batch in plan.batches}
        return [c for c in comparisons_of(active, self.selection) if c.read in here]

    def _values(self, measurements: Sequence[Measurement]) -> Values:
        """Of the last one's forks, over the documents of all."""
        *earlier, last = measurements
        wanted = [*last.wanted]
        known = {(c.twin, c.analysis.name) for c in wanted}
        going = {c.twin for c in wanted}
        for one in earlier:
            last.sweep.overflowed |= {**one.sweep.overflowed, **last.sweep.overflowed}
            wanted += [
                c for c in one.wanted if c.twin in going and (c.twin, c.analysis.name) not in known
            ]
        last.wanted = wanted
        found: Values = {}
        for of in last.values_of(_added(measurements, self.session.layout.depth)):
            by_place = found.setdefault((of.comparison.twin, of.comparison.analysis.name), {})
            by_place |= {(v.metric, v.site, v.item): v for v in of.values if v.metric in READ}
        return found

    def _told(self, end: int) -> np.ndarray:
        """Which replicates say something of the documents so far."""
        of = self.selection.plan.sets[CORPUS]
        if self.session.study.interval == "bootstrap":
            return np.ones(len(of.weights) - 1, dtype=bool)
        corpus = self.session.corpus.of_units(self.units[:end])
        shards = np.unique(of.shard.cpu().numpy()[np.unique(corpus.document)])
        return np.asarray((of.weights[1:][:, shards] == 0).any(axis=1))

    def _losers(self, active: Sequence[Fork], values: Values, told: np.ndarray) -> list[Fork]:
        """Both forks of every unit that surely matters less than the last of those sought."""
        gone: set[tuple[str, str]] = set()
        for compression in dict.fromkeys(fork.compression for fork in active):
            own = [f for f in active if f.compression == compression and f.way == "only"]
            numbers = {f.unit.name: self._damage(f, active, values) for f in own if f.unit}
            known = {name: value for name, value in numbers.items() if value.value is not None}
            gone |= {(compression, name) for name in self._below(known, told)}
        return [f for f in active if f.unit and (f.compression, f.unit.name) in gone]

    def _damage(self, fork: Fork, active: Sequence[Fork], values: Values) -> Value:
        measure = MEASURES[self.measure]
        whole = next(f for f in active if f.compression == fork.compression and f.unit is None)
        own, base = (values.get((f.name, measure.analysis), {}) for f in (fork, whole))
        return over_items(list(damage(fork, measure, own, base).values()))

    def _below(self, numbers: Mapping[str, Value], told: np.ndarray) -> Iterator[str]:
        """Units whose effect is below that of the last sought one with the whole interval of the
        difference, corrected for how many are looked at."""
        order = sorted(numbers, key=lambda name: -_number(numbers[name]))
        if len(order) <= self.top:
            return
        last = numbers[order[self.top - 1]]
        level = 1 - (1 - LEVEL) / (len(order) - self.top)
        bounds = BOUNDS[self.session.study.interval]
        for name in order[self.top :]:
            less = np.subtract(
                [_number(last), *last.replicates],
                [_number(numbers[name]), *numbers[name].replicates],
            )
            # Of an analysis' own documents every replicate tells something.
            of = less[1:][told] if len(told) == len(less) - 1 else less[1:]
            if len(of) > 1 and bounds(float(less[0]), of, level)[0] > 0:
                yield name


def _number(value: Value) -> float:
    assert value.value is not None
    return value.value


def refuse_failed(measurement: Measurement) -> None:
    """BitlensError for a compression that could not be made of a unit."""
    for name, reason in measurement.sweep.failed.items():
        raise InputError(
            f"{name} cannot be made: {reason}",
            "a compression that fits every unit.",
            "another --with.",
        )


def _added(measurements: Sequence[Measurement], depth: int) -> Iterator[Accumulators]:
    """What all stages have, depth by depth; those of a fork that has left are let go."""
    for at in range(-1, depth + 1):
        sums = PartedSums()
        for one in measurements:
            sums.part = one.summation.checkpoint.load(at).whole
            sums.close()
        yield sums.whole


def by_stages(
    staged: Staged, measures: Sequence[str], log: Log
) -> tuple[list[Effect], dict[str, Any]]:
    """Every effect, of each fork on the documents that it read, and what a run's file says of the
    stages."""
    method = staged.session.study.interval
    order = {fork.name: place for place, fork in enumerate(staged.forks.all)}
    found: list[tuple[int, int, Effect]] = []
    rows = []
    for stage in staged.stages():
        whole = [fork for fork in stage.forks if fork.unit is None]
        done = [*(fork for fork in whole if fork not in stage.leaving), *stage.leaving]
        leaving = {(f.compression, f.unit.name if f.unit else "", f.way) for f in stage.leaving}
        name = {(f.compression, f.unit.name if f.unit else "", f.way): f.name for f in done}
        for effect in effects_of(done, stage.values, measures, method, stage.told):
            of = (effect.compression, effect.unit, effect.way)
            if of in leaving:
                place = measures.index(effect.measure)
                found.append((place, order[name[of]], effect))
        last = stage.documents == len(staged.units)
        gone = [] if last else [f for f in stage.leaving if f.unit and f.way == "only"]
        left = [{"compression": f.compression, "unit": f.unit.name} for f in gone if f.unit]
        rows.append({"documents": stage.documents, "passes": stage.passes, "left": left})
        if not last:
            of_all = sum(fork.way == "only" for fork in stage.forks)
            log(
                f"After {count(stage.documents, 'document')} {len(left)} of "
                f"{count(of_all, 'unit')} left: they surely matter less."
            )
    found.sort(key=lambda one: one[:2])
    return [effect for _, _, effect in found], {"stages": rows, "unstaged": staged.unstaged}
