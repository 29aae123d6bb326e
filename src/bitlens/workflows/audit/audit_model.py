"""One model and one seed of a study: load, compress, sweep, write what is missing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from importlib.metadata import version

import numpy as np
import psutil
from tqdm import tqdm

from bitlens.analyses import ANALYSES
from bitlens.analyses.features.analysis import Features
from bitlens.analyses.features.survival import PLACES
from bitlens.analyses.transfer import Transfer
from bitlens.compression.requests import TwinRequest, requested_twins
from bitlens.compression.targets import try_compression
from bitlens.compression.twin_builder import BATCH_TOKENS, TwinBuilder
from bitlens.config.study import Study, parse_bytes
from bitlens.data.corpus import Corpus
from bitlens.data.display import CorpusTexts
from bitlens.engine.analysis import Analysis, TokenizerFacts
from bitlens.engine.comparisons import Comparison, comparisons
from bitlens.engine.measurement import Measurement
from bitlens.engine.plan import CORPUS, SUBSET, Plan, make_plan
from bitlens.engine.tables import joined, tables
from bitlens.engine.wave_size import Pace
from bitlens.errors import BitlensError, failed
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, free_memory, load
from bitlens.models.sites import resolve
from bitlens.models.source import ModelSource
from bitlens.registry import foreign_code
from bitlens.results.counts import count
from bitlens.results.records import Cell, Check, DetailTable, Value
from bitlens.results.store import Store
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.placement import fit_saes
from bitlens.workflows.audit.budget import Budget, budget
from bitlens.workflows.audit.compute_floor import about_floor, announced, floors
from bitlens.workflows.audit.feature_contexts import contexts
from bitlens.workflows.audit.manifest import (
    Done,
    cell_entry,
    describe_corpus,
    describe_model,
    twin_record,
)
from bitlens.workflows.audit.validity import (
    about_change,
    about_documents,
    about_layout,
    about_tokens,
    check_forward,
)
from bitlens.workflows.session import calibration_texts, evaluation
from bitlens.workflows.text_check import check_text

FREE_SHARE = 0.5
"""Of the free memory, when --memory does not say."""
PATTERN_BYTES = 1 << 27
"""Of one stream's attention patterns in a batch, or those of one window where that is more."""

MEASURING = 4
"""What all that is measured of a forward costs at most, in forwards: `benchmarks/sweep.py`."""

SAE_ANALYSES = frozenset({"features", "transfer"})

Key = tuple[str, str]
"""A twin's text and an analysis' name: a cell of this model and seed."""


class Audit:
    """One model and one seed of a study."""

    def __init__(
        self,
        study: Study,
        source: ModelSource,
        seed: int,
        store: Store,
        log: Callable[[str], None],
        keep_going: bool,
    ) -> None:
        self.study, self.source, self.seed = study, source, seed
        self.store, self.log, self.keep_going = store, log, keep_going
        self.checks: list[Check] = []
        self.notes: list[str] = []
        """What the reader of a result should know of this model."""
        names = self._asked()
        self.memory = (
            parse_bytes(study.memory) if study.memory else int(FREE_SHARE * free_memory(source))
        )
        self.held_before = psutil.Process().memory_info().rss
        self.loaded = load(source, self.memory)
        for note in self.loaded.notes:
            log(note)
            self.checks.append(Check("the reference's weights", True, note))
        if any(ANALYSES[name].patterns for name in names):
            # Only eager attention hands out its weights, and both streams must use the same.
            _make_eager(self.loaded)
        self.layout = Layout(self.loaded.model, self.loaded.compute)
        self.corpus = evaluation(study, self.loaded, self.layout, seed)
        self.texts = CorpusTexts(self.corpus, self.loaded.tokenizer)
        readable = check_text(study, source, self.layout, self.corpus, self.plan({}), log)
        self.checks += [readable, about_layout()]
        self.seconds_per_token: float | None = None
        self.builder = TwinBuilder(
            loaded=self.loaded,
            trust_remote_code=source.trust_remote_code,
            layout=self.layout,
            texts=calibration_texts(study, self.corpus.context),
            evaluation=self.corpus,
            seed=seed,
            memory=self.memory,
            log=log,
            on_failure="record" if keep_going else "raise",
        )
        self.failed: dict[Key, str] = {}
        """Cells that cannot be computed, and why."""
        self.fitted: list[PlacedSae] = []
        self.analyses = self._analyses(names)

    def _asked(self) -> list[str]:
        """The analyses of this model: all that were asked for and can be answered."""
        asked = list(self.study.analyses)
        without = [name for name in asked if name in SAE_ANALYSES]
        if self.source.saes or not without:
            return asked
        names = " and ".join(without)
        if set(asked) != set(ANALYSES):
            raise BitlensError(
                f"No SAE is named for {names}.",
                "a folder with an SAE that was trained on this model.",
                f"--sae DIR, or leave {names} out of --analyses.",
            )
        self.log(f"{names}: left out, because no SAE is named (--sae DIR).")
        self.notes.append(f"Left out, because no SAE was named: {names} (--sae DIR).")
        return [name for name in asked if name not in without]

    def run(self, done: Done) -> None:
        """Compute what is missing and add to the manifest how everything ended."""
        wanted = requested_twins(self.study.compressions, self.study.controls, self.layout)
        self._require_memory(wanted)
        built = self.builder.build(wanted)
        own = {
            text: twin.arithmetic
            for text, twin in built.twins.items()
            if twin.arithmetic is not None
        }
        floored = floors(wanted, own, self.layout.compute)
        for line in announced(floored, self.loaded.name, self.layout.compute):
            self.log(line)
        self.built = built | self.builder.build(floored)
        self.twins = self.built.twins
        wanted = [*wanted, *floored]
        self._lose(self.built.failed)
        self.failed |= self._without_predictions(wanted)
        self.checks += self.built.checks
        self.cells = {
            (side.text, a.name): self._cell(side, a)
            for side in wanted
            for a in self.analyses
            if a.outputs or not side.floor
        }
        missing = [
            key
            for key, cell in self.cells.items()
            if key not in self.failed and not self.store.has(cell)
        ]
        self._check()
        if not missing:
            self.log(f"{self.loaded.name}: every cell is there already; nothing to compute.")
        else:
            self._sweep([s for s in wanted if s.text in self.twins], missing)
        for side in wanted:
            if side.text in self.lost:
                continue
            try:
                self.checks.append(self._floor(side) if side.floor else self._change(side))
            except BitlensError as error:
                if not self.keep_going:
                    raise
                self._lose({side.text: str(error)})
        self._report(done, wanted)

    @property
    def lost(self) -> dict[str, str]:
        """Twins without any cell, and why."""
        every = {a.name for a in self.analyses}
        by_twin: dict[str, dict[str, str]] = {}
        for (text, name), reason in self.failed.items():
            by_twin.setdefault(text, {})[name] = reason
        return {t: next(iter(of.values())) for t, of in by_twin.items() if of.keys() >= every}

    def _lose(self, failures: Mapping[str, str]) -> None:
        for text, reason in failures.items():
            self.failed |= {(text, a.name): reason for a in self.analyses}

    def _without_predictions(self, wanted: Sequence[TwinRequest]) -> dict[Key, str]:
        """Cells that need a next token, where no position of the corpus that counts has one."""
        if len(self.plan({}).sets[CORPUS].keys[True]):
            return {}
        reason = (
            f"no token of {self.corpus.name} that is predicted counts: --positions "
            f"{self.study.positions} leaves none in windows as short as these"
        )
        needing = [
            a.name
            for a in self.analyses
            if a.name not in self.own and (a.lens or "logits" in a.sites(self.layout))
        ]
        return {(side.text, name): reason for side in wanted for name in needing}

    def _refuse_misfits(self) -> None:
        """What can be known without the text is said before it is read for SAEs: sites that are
        not there, checkpoints that cannot be opened, and compressions that do not fit."""
        for pattern in self.study.sites:
            resolve(pattern, self.layout)
        if not self.keep_going:
            for side in requested_twins(self.study.compressions, self.study.controls, self.layout):
                self.builder.open(side.compression)
                try_compression(self.layout, side.compression)

    def _analyses(self, names: Sequence[str]) -> list[Analysis]:
        """With the SAEs that fit; one that does not is refused before anything is compressed."""
        if set(names) & SAE_ANALYSES:
            self._refuse_misfits()
            poor = "poor-fit" in self.study.allow
            self.fitted = fit_saes(
                self.source.saes,
                self.layout,
                self.plan({}),
                self.corpus,
                self.loaded.name,
                poor,
            )
        for fitted in self.fitted:
            self.log(fitted.said)
            self.checks.append(fitted.check)
        with_saes = {
            "features": Features(tuple(self.fitted)),
            "transfer": Transfer(tuple(self.fitted)),
        }
        return [with_saes.get(name) or ANALYSES[name]() for name in names]

    def plan(self, own: dict[str, tuple[Corpus, int]]) -> Plan:
        return make_plan(
            self.corpus,
            self.study.positions,
            self.seed,
            self._batch_tokens,
            self.study.interval,
            self.layout.device,
            own,
        )

    @property
    def _batch_tokens(self) -> int:
        """Tokens that run together: fewer where attention patterns, which grow with the context,
        are kept."""
        most = BATCH_TOKENS.get(self.layout.device.type, BATCH_TOKENS["cpu"])
        if self.loaded.model.config._attn_implementation != "eager":
            return most
        heads = int(self.layout.config.num_attention_heads)
        return min(most, PATTERN_BYTES // (4 * heads * self.corpus.context))

    @cached_property
    def own(self) -> dict[str, tuple[Corpus, int]]:
        """Documents of the analyses that read their own."""
        tokenizer, corpus = self.loaded.tokenizer, self.corpus
        size = min(self.layout.vocabulary, len(tokenizer))
        reader = TokenizerFacts(
            np.setdiff1d(np.arange(size), tokenizer.all_special_ids),
            corpus.bos_id if corpus.bos else None,
            corpus.context,
            self.seed,
        )
        read = {a.name: a.documents(reader) for a in self.analyses}
        return {name: documents for name, documents in read.items() if documents is not None}

    @cached_property
    def sites(self) -> dict[str, list[str]]:
        """Where each analysis looks, narrowed to what the user named."""
        everywhere = {a.name: a.sites(self.layout) for a in self.analyses}
        if not self.study.sites:
            return everywhere
        named = {name for pattern in self.study.sites for name in resolve(pattern, self.layout)}
        self.log(f"Sites: {', '.join(self.study.sites)} = {', '.join(sorted(named))}.")
        narrow = {a.name: everywhere[a.name] for a in self.analyses if a.narrows}
        narrowed = {
            name: [s for s in sites if name not in narrow or s in named]
            for name, sites in everywhere.items()
        }
        if narrow and not any(narrowed[name] for name in narrow):
            looks = "; ".join(f"{n} at {', '.join(s[:4])}, ..." for n, s in narrow.items())
            raise BitlensError(
                f"None of the sites {', '.join(self.study.sites)} is one where "
                f"{' or '.join(narrow)} looks.",
                f"{looks}.",
                "other --sites, or leave them out of --analyses.",
            )
        return narrowed

    def _cell(self, side: TwinRequest, analysis: Analysis) -> Cell:
        model, corpus = self.loaded.model, self.corpus
        settings = {
            "weights": self.loaded.fingerprint,
            "tokens": corpus.token_hash,
            "positions": self.study.positions,
            "dtype": str(next(model.parameters()).dtype),
            "compute": str(self.loaded.compute),
            "attention": model.config._attn_implementation,
            "device": next(p.device.type for p in model.parameters() if p.device.type != "meta"),
            "versions": [version(name) for name in ("torch", "transformers")],
            "sites": self.sites[analysis.name],
            "interval": self.study.interval,
            "analysis": analysis.settings,
            "bitlens": version("bitlens"),
        }
        if analysis.name in self.own:
            settings["tokens"] = self.own[analysis.name][0].token_hash
        if side.floor:
            settings["documents"] = SUBSET
        settings |= self.built.identity[side.text]
        if other := sorted(foreign_code([side.compression, analysis])):
            settings["other code"] = other
        return Cell(self.loaded.name, side.text, analysis.name, self.seed, settings)

    def _sweep(self, wanted: Sequence[TwinRequest], missing: Sequence[Key]) -> None:
        """Everything missing in one sweep, then what it shows in a second."""
        asked = [c for c in self._comparisons(wanted) if (c.twin, c.analysis.name) in missing]
        needed = {text: self.twins[text] for text, _ in missing}
        identity = Cell("", "", "", self.seed, {"cells": sorted(self.cells[k].id for k in missing)})
        plan = self.plan(self.own)
        shells = sum(twin.held_bytes for twin in needed.values())
        statistics = self._budget(asked, plan, shells)
        if self.study.memory:
            statistics.require(self.memory, self.loaded.name, self.study.memory)
        room = statistics.room(self.memory)
        with _progress(self.layout) as advance:
            partial = self.store.partial / identity.id
            measurement = Measurement(
                self.layout, needed, asked, plan, room, partial, self.texts, advance
            )
            if measurement.damage:
                self.log(
                    f"What a stopped run left in {partial} cannot be used: {measurement.damage}. "
                    "It is computed again."
                )
            # After a kill, only the batches that are left.
            tokens = sum(b.tokens.numel() for b in measurement.sweep.batches)
            measurement.pace = Pace(tokens, self._seconds(measurement.sweep.forwards()))
            advance.expect(measurement.sweep.forwards(), tokens)
            hidden = self._say_cost(
                measurement, [s for s in wanted if s.text in needed], plan, tokens
            )
            self.log(statistics.said(hidden, self.held_before))
            values, shown = _collect(measurement)
        self._lose(measurement.sweep.failed)
        self._contexts(shown, {side.text for side in wanted if not side.control}, room)
        for key in missing:
            if key not in self.failed:
                self.store.write_cell(
                    self.cells[key], values.get(key, []), tables(shown.get(key, {}))
                )
        lost = measurement.sweep.failed
        if lost and not self.keep_going:
            # Only now: what the others have is kept for the next try.
            first = next(iter(lost))
            raise failed(first, lost[first])

    def _comparisons(self, wanted: Sequence[TwinRequest]) -> list[Comparison]:
        below = [side.text for side in wanted if side.floor and side.text in self.twins]
        twins = [text for text in self.twins if text not in below]
        return comparisons(self.analyses, twins, self.sites, self.own, below)

    def _contexts(
        self, shown: dict[Key, dict[str, list[DetailTable]]], asked: Collection[str], room: int
    ) -> None:
        """The texts on which the shown features fire, for the twins that were asked for."""
        places = {text: joined(of.pop(PLACES)) for (text, _), of in shown.items() if PLACES in of}
        wanted = {text: table for text, table in places.items() if text in asked}
        if not wanted:
            return
        made = contexts(
            self.layout,
            self.twins,
            self.fitted,
            wanted,
            self.corpus,
            self.texts,
            self._batch_tokens,
            room,
        )
        for text, table in made.items():
            shown[(text, "features")]["contexts"] = [table]

    def _budget(self, wanted: Sequence[Comparison], plan: Plan, shells: int) -> Budget:
        saes = [fitted.sae for fitted in self.fitted]
        own = {id(p): p for p in self.layout.model.parameters() if p.device.type == "meta"}
        on_disk = sum(p.numel() * p.element_size() for p in own.values())
        return budget(self.layout, wanted, plan, saes, shells, on_disk)

    def _require_memory(self, wanted: Sequence[TwinRequest]) -> None:
        """Before anything is compressed: is what is allowed enough for all of it?"""
        texts = [side.text for side in wanted]
        asked = comparisons(self.analyses, texts, self.sites, self.own)
        if self.study.memory and asked:
            needed = self._budget(asked, self.plan(self.own), 0)
            needed.require(self.memory, self.loaded.name, self.study.memory)

    def _say_cost(
        self, measurement: Measurement, wanted: Sequence[TwinRequest], plan: Plan, tokens: int
    ) -> int:
        """What it will take; and the bytes of hidden states of the largest wave."""
        sweep = measurement.sweep
        parameters = sum(p.numel() for p in self.layout.model.parameters())
        controls = sum(side.control for side in wanted)
        read = sum(b.tokens.numel() if b.mask is None else int(b.mask.sum()) for b in sweep.batches)
        work = 2 * parameters * tokens * sweep.forwards()
        waves = sweep.split(measurement.pace.most if measurement.pace else None)
        peak = max((sum(sweep.hidden_bytes(b) for b in w) for w in waves), default=0)
        own = "".join(f" and {c.n_documents} of {name}" for name, (c, _) in self.own.items())
        documents = plan.sets[CORPUS].documents
        self.log(
            f"{count(len(wanted), 'twin')} ({count(controls, 'control')} among them) on "
            f"{count(documents, 'document')}{own}, {count(read, 'token')}: "
            f"{sweep.forwards():.1f} forwards' worth of work "
            f"({work / 1e12:,.1f} TFLOP{self._about(tokens * sweep.forwards())}), "
            f"{count(len(waves), 'wave')}."
        )
        return peak

    def _seconds(self, forwards: float) -> float | None:
        """What a token takes through everything; None: not known."""
        if self.seconds_per_token is None:
            return None
        return MEASURING * forwards * self.seconds_per_token

    def _about(self, tokens: float) -> str:
        """How long that many tokens take, judged by the one window already read."""
        if self.seconds_per_token is None:
            return ""
        seconds = 1.3 * tokens * self.seconds_per_token
        return f", about {seconds:.0f} s" if seconds < 120 else f", about {seconds / 60:.0f} min"

    def _check(self) -> None:
        if any(parameter.is_meta for parameter in self.layout.model.parameters()):
            unknown = Check("the sweep equals the model's forward", None, "not tried from disk")
            self.checks.append(unknown)
        else:
            check, self.seconds_per_token = check_forward(self.layout, self.corpus)
            self.checks.append(check)
        attention = self.loaded.model.config._attn_implementation
        self.checks.append(about_tokens(self.corpus, attention))
        self.checks.append(about_documents(self.corpus.n_units, self.corpus.copies))

    def _change(self, side: TwinRequest) -> Check:
        twin = self.twins[side.text]
        # Twins whose cells were all there already have not met their weights yet.
        twin.complete_coverage()
        allowed = side.control or "identical" in self.study.allow
        return about_change(side, twin.coverage(), allowed, self.layout.compute)

    def _floor(self, side: TwinRequest) -> Check:
        """What computing in another dtype does by itself, from its cell."""
        cell = next((c for (text, _), c in self.cells.items() if text == side.text), None)
        values = self.store.read_cell(cell.id)[1] if cell and self.store.has(cell) else []
        return about_floor(side, self.layout.dtype, self.layout.compute, values)

    def _report(self, done: Done, wanted: Sequence[TwinRequest]) -> None:
        """Into the manifest: what was run, on what, and how each cell ended."""
        name, lost = self.loaded.name, self.lost
        if name not in [m["name"] for m in done.models]:
            done.models.append(
                describe_model(self.loaded, self.layout, self.source)
                | {"saes": [fitted.record for fitted in self.fitted]}
            )
            done.checks += [replace(check, model=name) for check in self.checks]
            for side in wanted:
                twin = self.twins.get(side.text)
                reason = lost.get(side.text)
                calibrated = "calibration" in self.built.identity[side.text]
                record = twin_record(side, twin, self.layout.compute, calibrated, reason)
                done.twins.append({"model": name, **asdict(record)})
                if twin is not None and reason is None and not side.floor:
                    done.coverage += [
                        {"model": name, "compression": side.text, **asdict(row)}
                        for row in twin.coverage()
                    ]
        plan = self.plan({})
        rule = self.study.positions
        notes = [note for corpus, _ in self.own.values() for note in corpus.notes]
        notes += [*self.built.notes, *self.notes]
        described = describe_corpus(self.corpus, plan, name, self.seed, rule)
        done.corpora.append({**described, "notes": described["notes"] + notes})
        for key, cell in self.cells.items():
            why = self.failed.get(key)
            done.cells.append(cell_entry(cell, "failed" if why else "done", why))


def _make_eager(loaded: Loaded) -> None:
    try:
        loaded.model.set_attn_implementation("eager")
    except ValueError as error:
        raise BitlensError(
            f"{loaded.name} has no eager attention: {error}",
            "attention that hands out its patterns.",
            "leave attention and heads out of --analyses.",
        ) from error


def _collect(
    measurement: Measurement,
) -> tuple[dict[Key, list[Value]], dict[Key, dict[str, list[DetailTable]]]]:
    """Values, and what is shown by name, by twin and analysis."""
    values: dict[Key, list[Value]] = {}
    shown: dict[Key, dict[str, list[DetailTable]]] = {}
    for measured in measurement.values():
        key = (measured.comparison.twin, measured.comparison.analysis.name)
        values.setdefault(key, []).extend(measured.values)
        for table in measured.shown:
            shown.setdefault(key, {}).setdefault(table.name, []).append(table)
    return values, shown


class _progress:
    """A bar over the tokens that blocks have to process, all streams and blocks together."""

    def __init__(self, layout: Layout) -> None:
        self._depth = layout.depth
        self._scale = 1
        self._bar = tqdm(desc="sweep", unit=" forwards", disable=None, total=0.0)

    def __enter__(self) -> "_progress":
        return self

    def __call__(self, tokens: int) -> None:
        self._bar.update(tokens / self._scale)

    def expect(self, forwards: float, tokens: int) -> None:
        self._bar.total, self._scale = forwards, tokens * self._depth

    def __exit__(self, *error: object) -> None:
        self._bar.close()
