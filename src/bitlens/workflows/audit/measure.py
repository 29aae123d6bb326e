"""The sweep that measures the missing cells of one model and seed, and writes them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bitlens.analyses.behaviour import DOCUMENTS, Behaviour
from bitlens.analyses.causal.analysis import Causal
from bitlens.analyses.causal.scores import Room
from bitlens.analyses.features.codes import CODES
from bitlens.analyses.features.survival import PLACES
from bitlens.analyses.predictions import PREDICTIONS
from bitlens.analyses.routing.analysis import RoutingAgreement
from bitlens.compression.requests import TwinRequest
from bitlens.compression.twin import Twin
from bitlens.engine.comparisons import Comparison
from bitlens.engine.measured import Measured
from bitlens.engine.measurement import Measurement
from bitlens.engine.plan import CORPUS
from bitlens.engine.sweep import Sweep
from bitlens.engine.tables import joined, tables
from bitlens.engine.wave_size import Pace
from bitlens.results.counts import count
from bitlens.results.records import Cell, DetailTable, Value
from bitlens.results.store import Store
from bitlens.workflows.audit.budget import MemoryBudget, budget
from bitlens.workflows.audit.cells import Cells, Key
from bitlens.workflows.audit.circuits import circuits
from bitlens.workflows.audit.cost import SweepCost
from bitlens.workflows.audit.expert_tables import EXPERTS, expert_tables
from bitlens.workflows.audit.feature_contexts import contexts
from bitlens.workflows.audit.feature_directions import directions
from bitlens.workflows.audit.head_patterns import moved, patterns, shown_texts
from bitlens.workflows.audit.selection import Selection, tokenizer_facts
from bitlens.workflows.audit.shown_documents import (
    TOKENS,
    named_documents,
    picks,
    shown_tokens,
)
from bitlens.workflows.engines import PlannedSweep
from bitlens.workflows.session import Session

Values = dict[Key, list[Value]]
"""By cell, its values."""
Tables = dict[Key, dict[str, list[DetailTable]]]
"""By cell and name, the parts of a table that is shown."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CellSweep:
    """Everything that one sweep measures, and what it may use."""

    session: Session
    selection: Selection
    requests: Sequence[TwinRequest]
    """Those whose twin could be built."""
    twins: Mapping[str, Twin]
    cells: Cells
    missing: Sequence[Key]
    """The cells that are measured."""
    seconds_per_token: float | None
    """What one forward takes; None: not known."""

    def run(self, store: Store) -> dict[str, str]:
        """Measure the cells and write those of every twin that did not fail; which did, and why.
        BitlensError where the memory that is allowed is too little."""
        values, shown, failed = self._swept(store) if self._comparisons else ({}, {}, {})
        failed = failed | self._add_circuits(store, failed, values, shown)
        room = self._room
        whole = self._asked - failed.keys()
        self._add_documents(whole, shown, room)
        self._add_contexts(whole, shown, room)
        self._add_patterns(whole, values, shown, room)
        for key in self.missing:
            if key[0] not in failed:
                found = tables(shown.get(key, {}))
                store.write_cell(self.cells.by_key[key], values.get(key, []), found)
        return failed

    def _swept(self, store: Store) -> tuple[Values, Tables, dict[str, str]]:
        """What the sweep of the texts measures, and which twins failed in it, and why."""
        session = self.session
        partial = store.partial / self._identity
        measurement = Measurement(
            session.layout,
            self._needed,
            self._comparisons,
            self.selection.plan,
            hidden_bytes=self._room,
            partial=partial,
            texts=session.texts,
        )
        if measurement.damage:
            session.log(
                f"What a stopped run left in {partial} cannot be used: {measurement.damage}. "
                "It is computed again."
            )
        cost = SweepCost.of(measurement.sweep, session.layout, self.seconds_per_token)
        pace = Pace(cost.tokens, cost.seconds)
        self._log_cost(cost, measurement.sweep, pace)
        planned = PlannedSweep(
            session=session, measurement=measurement, budget=self._budget, cost=cost, pace=pace
        )
        values, shown = _collected(planned.values())
        self._add_experts(shown, measurement.sweep, self._room)
        return values, shown, measurement.sweep.failed

    def _add_circuits(
        self, store: Store, failed: Mapping[str, str], values: Values, shown: Tables
    ) -> dict[str, str]:
        """What sweeps of the tasks' prompts measure, and which twins failed in them, and why."""
        causal = next((a for a in self.selection.analyses if isinstance(a, Causal)), None)
        twins = {
            text: twin
            for text, twin in self._needed.items()
            if (text, Causal.name) in self.missing and text not in failed
        }
        if causal is None or not twins:
            return {}
        room = Room(
            batch_tokens=self.session.batch_tokens,
            hidden_bytes=self._room,
            partial=store.partial / f"{self._identity}-tasks",
        )
        noise = {request.text for request in self.requests if request.like}
        found = circuits(self.session, causal, twins, self._asked | noise, room)
        for text, of in found.values.items():
            values[text, causal.name] = of
            shown[text, causal.name] = {table.name: [table] for table in found.tables[text]}
        return dict(found.failed)

    @property
    def _needed(self) -> dict[str, Twin]:
        return {text: self.twins[text] for text, _ in self.missing}

    @cached_property
    def _comparisons(self) -> list[Comparison]:
        floors = [request.text for request in self.requests if request.floor]
        twins = [text for text in self.twins if text not in floors]
        found = self.selection.comparisons(twins, floors)
        return [c for c in found if (c.twin, c.analysis.name) in self.missing]

    @cached_property
    def _room(self) -> int:
        """Bytes of the hidden states that are held at a time."""
        if not self._comparisons:
            return self.session.memory // 4
        return self._budget.room(self.session.memory)

    @cached_property
    def _budget(self) -> MemoryBudget:
        shells = sum(twin.held_bytes for twin in self._needed.values())
        return required_memory(self.session, self.selection, self._comparisons, shells)

    @property
    def _identity(self) -> str:
        """The name of what a stopped run leaves: a sweep of other cells does not go on with it."""
        ids = sorted(self.cells.by_key[key].id for key in self.missing)
        return Cell(
            model="", compression="", analysis="", seed=self.session.seed, settings={"cells": ids}
        ).id

    def _log_cost(self, cost: SweepCost, sweep: Sweep, pace: Pace) -> None:
        """What it will take, in time and in memory."""
        needed = self._needed
        wanted = [request for request in self.requests if request.text in needed]
        controls = sum(request.control for request in wanted)
        read = sum(b.tokens.numel() if b.mask is None else int(b.mask.sum()) for b in sweep.batches)
        waves = sweep.split(pace.most)
        own = "".join(
            f" and {corpus.n_documents} of {name}"
            for name, (corpus, _) in self.selection.own.items()
        )
        documents = self.selection.plan.sets[CORPUS].documents
        self.session.log(
            f"{count(len(wanted), 'twin')} ({count(controls, 'control')} among them) on "
            f"{count(documents, 'document')}{own}, {count(read, 'token')}."
        )
        self.session.log(f"It takes {cost.said}, in {count(len(waves), 'wave')}.")
        largest = max((sum(sweep.hidden_bytes(b) for b in wave) for wave in waves), default=0)
        self.session.log(self._budget.said(largest, self.session.held_before))

    @property
    def _asked(self) -> set[str]:
        """The twins that were asked for: what single texts show is shown of these."""
        return {request.text for request in self.requests if not request.control}

    def _add_documents(self, twins: set[str], shown: Tables, room: int) -> None:
        """The names of all documents; and those that are read token by token, of these twins."""
        every = {text: joined(of[DOCUMENTS]) for (text, _), of in shown.items() if DOCUMENTS in of}
        known = {
            text: joined(of.pop(PREDICTIONS))
            for (text, _), of in shown.items()
            if PREDICTIONS in of
        }
        why = {
            text: picks(table.columns, self.session.corpus, self.session.seed)
            for text, table in every.items()
            if text in twins
        }
        for text, table in every.items():
            named = named_documents(table, why.get(text, {}), self.session.texts)
            shown[(text, Behaviour.name)][DOCUMENTS] = [named]
        wanted = {text: list(of) for text, of in why.items()}
        plan = self.selection.plan
        read = shown_tokens(self.session, plan, self.twins, wanted, known, room) if wanted else {}
        for text, table in read.items():
            shown[(text, Behaviour.name)][TOKENS] = [table]

    def _add_patterns(self, twins: set[str], values: Values, shown: Tables, room: int) -> None:
        """Where heads look on a few short texts, in these twins."""
        far = {
            text: heads
            for (text, analysis), of in values.items()
            if analysis == "attention" and text in twins and (heads := moved(of))
        }
        if not far:
            return
        texts = shown_texts(self.session, tokenizer_facts(self.session))
        for text, found in patterns(self.session, self.twins, far, texts, room).items():
            for table in found:
                shown.setdefault((text, "attention"), {})[table.name] = [table]

    def _add_experts(self, shown: Tables, sweep: Sweep, room: int) -> None:
        """How far each expert's weights are off, and how many calibration tokens it met."""
        every = {text: joined(of[EXPERTS]) for (text, _), of in shown.items() if EXPERTS in of}
        found = expert_tables(
            self.session, every, self.requests, sweep.expert_errors, hidden_bytes=room
        )
        for text, table in found.items():
            shown[(text, RoutingAgreement.name)][EXPERTS] = [table]

    def _add_contexts(self, twins: set[str], shown: Tables, room: int) -> None:
        """The texts on which the shown features fire, in these twins."""
        places, codes = (
            {text: joined(of.pop(name)) for (text, _), of in shown.items() if name in of}
            for name in (PLACES, CODES)
        )
        wanted = {text: table for text, table in places.items() if text in twins}
        known = {text: table for text, table in codes.items() if text in wanted}
        if not wanted:
            return
        placed = self.selection.saes
        found = contexts(self.session, self.twins, placed, wanted, known, hidden_bytes=room)
        told = directions(self.session, placed, wanted)
        for text in wanted:
            for table in (*found.get(text, ()), told[text]):
                shown[(text, "features")][table.name] = [table]


def required_memory(
    session: Session, selection: Selection, asked: Sequence[Comparison], shells: int = 0
) -> MemoryBudget:
    """What a sweep for these comparisons takes; `shells`: bytes of embeddings and unembeddings that
    twins have of their own. BitlensError where the study allows less."""
    own = {id(p): p for p in session.layout.model.parameters() if p.device.type == "meta"}
    needed = budget(
        session.layout,
        asked,
        selection.plan,
        saes=[placed.sae for placed in selection.saes],
        shells=shells,
        on_disk=sum(p.numel() * p.element_size() for p in own.values()),
    )
    if session.study.memory:
        needed.require(session.memory, session.loaded.name, session.study.memory)
    return needed


def _collected(found: Iterable[Measured]) -> tuple[Values, Tables]:
    """Values, and what is shown by name, by twin and analysis."""
    values: Values = {}
    shown: Tables = {}
    for measured in found:
        key = (measured.comparison.twin, measured.comparison.analysis.name)
        values.setdefault(key, []).extend(measured.values)
        for table in measured.shown:
            shown.setdefault(key, {}).setdefault(table.name, []).append(table)
    return values, shown
