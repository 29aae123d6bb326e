"""A sensitivity run from a study to a folder: one sweep of the reference, its whole twins and all
their forks, and what came of each."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.pytorch_utils import Conv1D

from bitlens.compression.compression import Compression
from bitlens.compression.coverage import Row
from bitlens.compression.twin import CompressedTwin
from bitlens.config.presence import refuse_absent_texts
from bitlens.config.study import Study
from bitlens.engine.measurement import Measurement
from bitlens.engine.memory import bound_heap
from bitlens.engine.wave_size import Pace
from bitlens.errors import InputError, ResultsError
from bitlens.results.counts import count
from bitlens.results.files.home import without_home
from bitlens.results.files.names import LOGS, inside
from bitlens.results.files.writing import alone
from bitlens.results.records import Cell, Check, to_json
from bitlens.results.sensitivity.folder import (
    NAME,
    PARTIAL,
    PLANS,
    REPORT,
    Sensitivity,
    finished,
    read_run,
    write_run,
)
from bitlens.results.sensitivity.measures import BENCHMARK, READ, analyses_of
from bitlens.results.sensitivity.records import TABLES, Effect, Unit, UnitSize
from bitlens.workflows.audit.cells import Cells
from bitlens.workflows.audit.cost import SweepCost
from bitlens.workflows.audit.measure import required_memory
from bitlens.workflows.audit.selection import Selection, asked_analyses, select_analyses
from bitlens.workflows.bench.harness import require
from bitlens.workflows.engines import PlannedSweep
from bitlens.workflows.folders import refuse_foreign
from bitlens.workflows.given import NOTHING, Given
from bitlens.workflows.sensitivity.effects import Values, effects_of
from bitlens.workflows.sensitivity.forks import Forks, comparisons_of
from bitlens.workflows.sensitivity.proxies import proxy_scores
from bitlens.workflows.sensitivity.stages import Staged, by_stages, refuse_failed
from bitlens.workflows.sensitivity.units import Division, units_of
from bitlens.workflows.session import Log, Session
from bitlens.workflows.text_check import check_text

if TYPE_CHECKING:
    from bitlens.workflows.sensitivity.answers import Questions


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a sensitivity run, beside the study of its model, texts and compressions."""

    division: Division = "block"
    measures: tuple[str, ...] = ("kl",)
    both: bool = True
    """Whether every unit is also left out of the whole compression; a plan needs units alone."""
    top: int | None = None
    """How many units are sought, by the first measure: others may leave early; None: all."""


def run(
    study: Study,
    request: Request,
    out: Path,
    command: str,
    log: Log = print,
    given: Given = NOTHING,
) -> Sensitivity:
    """Measure what every unit does and write it to a folder; what is there already of the same
    settings is read. `given`: what the study only names, and the caller holds. BitlensError for
    what cannot be loaded, compressed or measured, and for a folder of other settings."""
    refuse_absent_texts(study)
    own = {NAME, REPORT, PARTIAL, PLANS, LOGS, *(f"{name}.parquet" for name in TABLES)}
    refuse_foreign(out, "bitlens sensitivity", "it began", lambda path: path.name in own)
    bound_heap()
    with alone(out):
        return _SensitivityRun(study, request, out, log, given).result(command)


class _SensitivityRun:
    """One run: a loaded model, its twins and their forks."""

    def __init__(
        self, study: Study, request: Request, out: Path, log: Log, given: Given = NOTHING
    ) -> None:
        self.request, self.out, self.log = request, out, log
        study = study.model_copy(update={"analyses": analyses_of(request.measures)})
        asked = asked_analyses(study, study.models[0], log)
        self.session = Session.open(study, log, eager=asked.eager, given=given)
        if study.models[0].compute == "paired":
            log("Forks are computed in float32: --compute paired is for audits.")
        self.builder = self.session.twin_builder(apart_from=self.session.corpus)
        self.selection: Selection = select_analyses(
            self.session, asked, self.session.plan(), self.builder
        )
        self.units = units_of(self.session.layout, request.division)
        self.questions = questions(self.session) if BENCHMARK in request.measures else None
        self.requests = self.session.requests()
        self.built = self.builder.build(self.requests)

    def result(self, command: str) -> Sensitivity:
        """The run that is there already, or a new one."""
        if finished(self.out):
            known = read_run(self.out)
            if known.about["key"] != self._key:
                raise ResultsError(
                    f"{self.out} holds a sensitivity run of other settings: it was made by "
                    f"{known.about['command']}.",
                    "the same settings, to be told what is there; or a new folder.",
                    "another --out.",
                )
            self.log(f"{self.out}: everything is there already; nothing to compute.")
            return known
        checks = [
            check_text(self.session, self.session.plan()),
            *(placed.check for placed in self.selection.saes),
            *self.built.checks,
        ]
        twins = self._twins()
        forks = Forks(self.session.layout, twins, self.units, both=self.request.both)
        effects, stages = self._effects(forks)
        found = Sensitivity(
            root=self.out,
            about=self._about(command, checks) | stages,
            units=self.units,
            sizes=_sizes(self.units, forks, twins),
            effects=effects,
            proxies=proxy_scores(self.session.layout, twins, self.units, self.selection.plan),
        )
        write_run(found)
        shutil.rmtree(inside(self.out, PARTIAL), ignore_errors=True)
        return found

    @property
    def _key(self) -> str:
        session = self.session
        study = session.study.to_dict()
        study.pop("memory")
        cells = Cells.of(session, self.selection, self.requests, self.built)
        settings = {
            # Texts, SAEs, calibration, checkpoints, libraries: all that decides about an audit.
            "cells": [cell.id for cell in cells.by_key.values()],
            "study": study,
            "units": self.request.division,
            "measures": list(self.request.measures),
            "both": self.request.both,
            **({} if self.request.top is None else {"top": self.request.top}),
            **({} if self.questions is None else {"questions": self.questions.key}),
            "bitlens": version("bitlens"),
        }
        return Cell(
            model=session.loaded.name,
            compression="",
            analysis="sensitivity",
            seed=session.seed,
            settings=settings,
        ).id

    def _twins(self) -> dict[str, CompressedTwin]:
        built = self.built
        others = [text for text, t in built.twins.items() if not isinstance(t, CompressedTwin)]
        others += [r.text for r in self.requests if _of_no_unit(r.compression)]
        if others:
            raise InputError(
                f"{others[0]} is nothing that a unit can have by itself.",
                "compressions of the blocks' matrices that bitlens makes, without patterns or "
                "anything to be matched first: rtn, gptq, nvfp4, prune, ...",
                "--with rtn:bits=4,group=64",
            )
        return {text: t for text, t in built.twins.items() if isinstance(t, CompressedTwin)}

    def _effects(self, forks: Forks) -> tuple[list[Effect], dict[str, Any]]:
        """Every effect, and what is to be said of stages."""
        measures, method = self.request.measures, self.session.study.interval
        if self.request.top is None:
            values = self._values(forks)
            values |= self.questions.drops(forks) if self.questions else {}
            found = effects_of(forks.all, values, measures, method)
            return found, {"stages": [], "unstaged": None}
        return by_stages(
            Staged(
                session=self.session,
                selection=self.selection,
                forks=forks,
                measure=measures[0],
                top=self.request.top,
                folder=inside(inside(self.out, PARTIAL), self._key),
            ),
            measures,
            self.log,
        )

    def _values(self, forks: Forks) -> Values:
        """One sweep of everything."""
        session = self.session
        wanted = comparisons_of(forks.all, self.selection)
        twins = [m for m in forks.models.values() if isinstance(m, CompressedTwin)]
        shells = sum(twin.held_bytes for twin in twins)
        budget = required_memory(session, self.selection, wanted, shells)
        measurement = Measurement(
            session.layout,
            forks.models,
            wanted,
            self.selection.plan,
            hidden_bytes=budget.room(session.memory),
            partial=inside(inside(self.out, PARTIAL), self._key),
            texts=session.texts,
        )
        if measurement.damage:
            self.log(f"What a stopped run left cannot be used: {measurement.damage}.")
        cost = SweepCost.of(measurement.sweep, session.layout, None)
        apart = sum(1 for fork in forks.all if fork.unit is not None)
        self.log(
            f"{count(len(self.units), 'unit')}, {count(apart, 'fork')} of "
            f"{count(len(forks.all) - apart, 'whole twin')} on "
            f"{count(session.corpus.n_documents, 'document')}: {cost.said}; run one by one, "
            f"{len(forks.all) + 1}."
        )
        found: Values = {}
        planned = PlannedSweep(
            session=session,
            measurement=measurement,
            budget=budget,
            cost=cost,
            pace=Pace(cost.tokens, None),
        )
        for one in planned.values():
            key = (one.comparison.twin, one.comparison.analysis.name)
            by_place = found.setdefault(key, {})
            # Of hundreds of forks only what a measure reads is held.
            by_place |= {(v.metric, v.site, v.item): v for v in one.values if v.metric in READ}
        refuse_failed(measurement)
        return found

    def _about(self, command: str, checks: Sequence[Check]) -> dict[str, Any]:
        session = self.session
        layout, corpus = session.layout, session.corpus
        return {
            "tool": {"version": version("bitlens")},
            "command": without_home(command),
            "settings": json.loads(to_json(session.study.to_dict())),
            "key": self._key,
            "asked": {
                "compressions": list(session.study.compressions),
                "units": self.request.division,
                "measures": list(self.request.measures),
                "top": self.request.top,
            },
            "model": {
                "name": session.loaded.name,
                "fingerprint": session.loaded.fingerprint,
                "blocks": layout.depth,
                "dtype": str(layout.dtype).removeprefix("torch."),
                "parameters": sum(p.numel() for p in layout.model.parameters()),
                "bits": 8.0 * layout.dtype.itemsize,
                "conv1d": any(isinstance(module, Conv1D) for module in layout.model.modules()),
            },
            "on": {
                "text": corpus.name,
                "token_hash": corpus.token_hash,
                "documents": corpus.n_documents,
                "tokens": int(corpus.n_tokens),
            },
            "notes": [*(_told(check) for check in checks), *self.built.notes],
        }


def questions(session: Session) -> "Questions":
    """Those of the benchmarks of a study. InputError where the harness is not installed."""
    require()
    # The harness takes seconds to load, and most runs ask nothing.
    from bitlens.workflows.sensitivity.answers import Questions

    return Questions(session)


def _told(check: Check) -> str:
    """A check in a line: what failed says so."""
    failed = "" if check.passed or check.passed is None else "failed: "
    return f"{check.name}: {failed}{check.detail}"


def _sizes(
    units: Sequence[Unit], forks: Forks, twins: Mapping[str, CompressedTwin]
) -> list[UnitSize]:
    """What every unit takes under every compression that holds it."""
    sizes = []
    for text, twin in twins.items():
        twin.complete_coverage()
        rows = {row.module: row for row in twin.coverage() if row.parameters}
        shell = [f for f in forks.all if f.unit and f.unit.block is None]
        for fork in shell:
            own = forks.models[fork.run.model]
            if fork.compression == text and isinstance(own, CompressedTwin):
                own.complete_coverage()
                rows |= {row.module: row for row in own.coverage() if row.module in own.targets}
        sizes += [
            UnitSize(compression=text, unit=unit.name, bits=_bits(unit, rows))
            for unit in units
            if set(unit.matrices) <= rows.keys()
        ]
    return sizes


def _of_no_unit(c: Compression) -> bool:
    """Whether it changes what is of no one unit, or takes some units only."""
    of_the_whole = c.compute_dtype or c.cache or c.control or c.base.name == "mixed"
    return bool(of_the_whole or c.include or c.exclude or c.matched_to)


def _bits(unit: Unit, rows: Mapping[str, Row]) -> float:
    """Bits per weight over all matrices of a unit."""
    of = [rows[name] for name in unit.matrices]
    return sum(row.bits * row.parameters for row in of) / sum(row.parameters for row in of)
