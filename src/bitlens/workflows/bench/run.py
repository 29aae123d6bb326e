"""Benchmarks of a model, its twins and controls: asked once, swept once, scored by the harness."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitlens.compression.methods.controls import Nothing
from bitlens.compression.requests import TwinRequest
from bitlens.compression.twin import Twin
from bitlens.compression.twin_builder import BuiltTwins
from bitlens.config.presence import refuse_absent_texts
from bitlens.config.study import Study
from bitlens.engine.memory import bound_heap
from bitlens.errors import ResultsError
from bitlens.results.benchmarks.changes import changes_of
from bitlens.results.benchmarks.folder import (
    FOLDER,
    NAME,
    REPORT,
    Benchmarked,
    finished,
    read_benchmarks,
    write_benchmarks,
)
from bitlens.results.benchmarks.generations import Generation
from bitlens.results.benchmarks.records import TABLES, BenchTask, DepthOutcome, Outcome
from bitlens.results.counts import count
from bitlens.results.files.home import without_home
from bitlens.results.files.names import LOGS, inside
from bitlens.results.files.writing import alone
from bitlens.results.records import REFERENCE, Cell
from bitlens.workflows.bench.chat import AskedInChat
from bitlens.workflows.bench.code import allow_code
from bitlens.workflows.bench.harness import HarnessTask, evaluate, load_tasks, require
from bitlens.workflows.bench.request import BenchRequest
from bitlens.workflows.folders import refuse_foreign
from bitlens.workflows.session import Log, Session

if TYPE_CHECKING:
    from bitlens.workflows.bench.likelihoods import Likelihoods

BATCHES, WAVES = "generations", "likelihoods"
"""Folders of what was written, batch by batch, and of what was swept, until all of it is."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelBench:
    """What came of the benchmarks of one model."""

    about: dict[str, Any]
    """`BenchedModel`."""
    key: str
    tasks: Sequence[BenchTask]
    outcomes: Sequence[Outcome]
    depths: Sequence[DepthOutcome]
    generations: Sequence[Generation]
    notes: Sequence[str]

    @classmethod
    def of(cls, known: Benchmarked, model: str) -> "ModelBench":
        """That of benchmarks that were written."""
        (about,) = (m for m in known.about["models"] if m["name"] == model)
        return cls(
            about=about,
            key=known.about["keys"][model],
            tasks=known.tasks,
            outcomes=[o for o in known.outcomes if o.model == model],
            depths=[d for d in known.depths if d.model == model],
            generations=[g for g in known.generations if g.model == model],
            notes=known.about["notes"],
        )


def run(study: Study, out: Path, command: str, log: Log = print) -> Benchmarked:
    """Ask the benchmarks of a study of one model and leave a folder of them; what is there already
    of the same settings is read. BitlensError for what cannot be loaded, compressed or asked, and
    for a folder of other settings."""
    request = BenchRequest.of(study)
    require()
    refuse_absent_texts(study)
    own = {NAME, REPORT, BATCHES, WAVES, LOGS, *(f"{name}.parquet" for name in TABLES)}
    refuse_foreign(out, "bitlens bench", "it began", lambda path: path.name in own)
    bound_heap()
    with alone(out):
        known = read_benchmarks(out) if finished(out) else None
        tasks = load_tasks(request)
        allow_code(tasks, confirmed=request.confirm_run_unsafe_code)
        session = Session.open(study, log)
        requests = session.requests()
        built = session.twin_builder(apart_from=session.corpus).build(requests)
        asked = Asking(session=session, requests=requests, built=built, tasks=tasks)
        if known is not None:
            if asked.key not in known.about["keys"].values():
                raise ResultsError(
                    f"{out} holds benchmarks of other settings: they were made by "
                    f"{known.about['command']}.",
                    "the same settings, to be told what is there; or a new folder.",
                    "another --out.",
                )
            log(f"{out}: everything is there already; nothing to compute.")
            return known
        found = gathered([asked.result(out)], request, out, command)
        _write(found)
        return found


def write_beside(
    models: Sequence[ModelBench], request: BenchRequest, store: Path, command: str, log: Log
) -> Benchmarked | None:
    """Write the benchmarks of all models of a study into the folder of its results; None, and what
    lay there counts no more, where none were asked."""
    folder = inside(store, FOLDER)
    if not models:
        if finished(folder):
            log(f"No benchmarks are asked: those in {folder} are of an earlier run, and forgotten.")
            inside(folder, NAME).unlink()
        return None
    found = gathered(models, request, folder, command)
    _write(found)
    return found


def _write(found: Benchmarked) -> None:
    """Everything; then what was kept until it was all there is not needed any more."""
    write_benchmarks(found)
    for name in (BATCHES, WAVES):
        shutil.rmtree(inside(found.root, name), ignore_errors=True)


def gathered(
    models: Sequence[ModelBench], request: BenchRequest, root: Path, command: str
) -> Benchmarked:
    """The benchmarks of all models together, with what changed."""
    tasks = list({(t.benchmark, t.task): t for of in models for t in of.tasks}.values())
    outcomes = [one for of in models for one in of.outcomes]
    controls = {t["compression"] for of in models for t in of.about["twins"] if t["control"]}
    return Benchmarked(
        root=root,
        about={
            "tool": {"version": version("bitlens")},
            "command": without_home(command),
            "keys": {of.about["name"]: of.key for of in models},
            "benchmarks": list(request.names),
            "limit": request.limit,
            "models": [of.about for of in models],
            "notes": list(dict.fromkeys(note for of in models for note in of.notes)),
        },
        tasks=tasks,
        outcomes=outcomes,
        depths=[one for of in models for one in of.depths],
        generations=[one for of in models for one in of.generations],
        changes=changes_of(tasks, outcomes, controls),
    )


class Asking:
    """One loaded model with its twins, and the tasks they are asked."""

    def __init__(
        self,
        *,
        session: Session,
        requests: Sequence[TwinRequest],
        built: BuiltTwins,
        tasks: Sequence[HarnessTask],
    ) -> None:
        from bitlens.workflows.bench.generations import Writer
        from bitlens.workflows.bench.likelihoods import pack
        from bitlens.workflows.bench.replay import ReplayLM, longest

        self.session, self.built, self.tasks = session, built, tasks
        self.requests = [r for r in requests if r.text in built.twins and not r.floor]
        self.elsewhere = [r.text for r in self.requests if isinstance(r.compression, Nothing)]
        """The reference again, in other batches: what those change by themselves."""
        self.limit = session.study.limit
        loaded = session.loaded
        self.chat = AskedInChat.of(session)
        recording = ReplayLM(loaded.tokenizer, template=self.chat.template)
        questions = evaluate(recording, tasks, self.limit, self.chat.how)
        self.right = [[q["doc_hash"], q["target_hash"]] for of in questions.values() for q in of]
        """By question, what is right."""
        for task in tasks:
            if task.code is not None:
                task.code.forget()
        self.asked = dict(recording.asked)
        most = longest(loaded.model.config, loaded.tokenizer)
        requested = list(dict.fromkeys(self.asked.values()))
        self.packed = pack(requested, most) if requested else None
        self.writer = Writer(session, recording.begun, most) if recording.begun else None
        cut = sum(len(r.context) + len(r.continuation) > most + 1 for r in requested)
        self.notes = [*self.chat.notes] + [
            f"{cut:,} of {count(len(requested), 'request')} were longer than the "
            f"{most:,} tokens that {loaded.name} reads: their beginnings were left out."
        ] * bool(cut)

    @property
    def key(self) -> str:
        """Of everything that decides about the outcomes."""
        session = self.session
        asked = list(self.packed.requests) if self.packed else []
        written = [batch.decides for batch in self.writer.batches] if self.writer else []
        requests = hashlib.sha256(repr([asked, written, self.right]).encode()).hexdigest()
        settings = {
            "weights": session.loaded.fingerprint,
            "dtype": str(session.layout.dtype),
            "compute": str(session.layout.compute),
            "attention": session.loaded.model.config._attn_implementation,
            "device": session.layout.device.type,
            "twins": {r.text: dict(self.built.identity.get(r.text, {})) for r in self.requests},
            "tasks": [[t.benchmark, t.name, t.version] for t in self.tasks],
            "requests": requests,
            "versions": {name: version(name) for name in ("bitlens", "lm_eval", "torch")},
        }
        settings |= {"paired": True} if session.layout.paired else {}
        return Cell(
            model=session.loaded.name,
            compression="",
            analysis="benchmarks",
            seed=session.seed,
            settings=settings,
        ).id

    def result_beside(self, store: Path) -> ModelBench:
        """What lies in a folder of results of the same settings; else the result."""
        folder = inside(store, FOLDER)
        if finished(folder):
            known, name = read_benchmarks(folder), self.session.loaded.name
            if known.about["keys"].get(name) == self.key:
                self.session.log(f"{name}: its benchmarks are there already.")
                return ModelBench.of(known, name)
        return self.result(folder)

    def result(self, folder: Path) -> ModelBench:
        """One sweep of all that is answered by choosing, what each model writes, and the harness'
        scores of each. `folder`: where what is written is kept until all is there."""
        from bitlens.workflows.bench.scoring import Answers, Scoring

        session = self.session
        twins = {r.text: self.built.twins[r.text] for r in self.requests}
        broken: dict[str, str] = {}
        said = self._said(twins, broken, folder)
        wrote = None
        if self.writer is not None:
            batches = inside(folder, BATCHES)
            sound = {name: twin for name, twin in twins.items() if name not in broken}
            wrote = self.writer.write(sound, self.built.identity, batches, self.elsewhere)
        texts, failed = (wrote.texts, wrote.failed) if wrote else ({}, {})
        scored = Scoring(
            loaded=session.loaded,
            tasks=self.tasks,
            limit=self.limit,
            asked=self.asked,
            requests=self.packed.requests if self.packed else (),
            chat=self.chat,
        ).scored(
            {
                name: Answers(likelihoods=said.get(name), texts=texts.get(name))
                for name in (REFERENCE, *twins)
            },
            session.log,
        )
        return ModelBench(
            about=self._about({**self.built.failed, **failed, **broken}),
            key=self.key,
            tasks=[scored.tasks[task.name] for task in self.tasks],
            outcomes=scored.outcomes,
            depths=scored.depths,
            generations=scored.generations,
            notes=[
                f"Asked and scored by lm-evaluation-harness {version('lm_eval')}.",
                *self.notes,
                *(note for task in self.tasks for note in task.notes),
                *(wrote.notes if wrote else ()),
                *(f"{name} computes {why}: it is left out." for name, why in broken.items()),
                *(f"{name} wrote nothing: {why}" for name, why in failed.items()),
            ],
        )

    def _about(self, failed: Mapping[str, str]) -> dict[str, Any]:
        """`BenchedModel`."""
        loaded = self.session.loaded
        return {
            "name": loaded.name,
            "fingerprint": loaded.fingerprint,
            "blocks": self.session.layout.depth,
            "twins": [{"compression": r.text, "control": r.control} for r in self.requests],
            "failed": dict(failed),
        }

    def _said(
        self, twins: Mapping[str, Twin], broken: dict[str, str], folder: Path
    ) -> "Mapping[str, Likelihoods]":
        """What each model says of every choice, in one pass through depth; `broken`: filled with
        those that computed no numbers, and why."""
        packed = self.packed
        if packed is None:
            return {}
        from bitlens.workflows.bench.likelihoods import measure

        self.session.log(
            f"{count(len(self.tasks), 'task')} asked of the reference and "
            f"{count(len(twins), 'twin')}: {count(len(packed.requests), 'request')} in "
            f"{count(len(packed.rows), 'row')}, "
            f"{count(sum(map(len, packed.rows)), 'token')}, one pass through depth."
        )
        waves = inside(inside(folder, WAVES), self.key)
        return measure(self.session, twins, packed, broken, waves, self.elsewhere)
