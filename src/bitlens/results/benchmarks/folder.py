"""The folder of benchmarks: OUT itself of `bitlens bench`, OUT/benchmarks of an audit.

    benchmarks.json      what was asked of whom; written last: its presence means it is complete
    tasks.parquet        one row a task
    outcomes.parquet     one row a question, model and metric
    generations.parquet  one row a question and model that it wrote for
    depths.parquet       one row a question and model: its answer by block
    changes.parquet      one row a benchmark, twin and metric

The same content is the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitlens.errors import ResultsError
from bitlens.results.benchmarks.generations import ENDINGS, Generation
from bitlens.results.benchmarks.records import TABLES, BenchTask, Change, DepthOutcome, Outcome
from bitlens.results.files.writing import write
from bitlens.results.json_files import AGAIN, damaged, json_bytes, mended, read_json
from bitlens.results.manifest_schema import Content, Tool, Versioned
from bitlens.results.record_tables import read_records, write_records
from bitlens.results.records import REFERENCE, SCHEMA

NAME = "benchmarks.json"
FOLDER = "benchmarks"
"""Where they lie in the folder of an audit."""
REPORT = "report.html"


class BenchedTwin(Content):
    """A compression that was run."""

    compression: str
    control: bool


class BenchedModel(Content):
    """A model that was asked."""

    name: str
    fingerprint: str
    blocks: int
    twins: tuple[BenchedTwin, ...]
    failed: dict[str, str]
    """Twins that were not asked, or could not answer, and why."""


class BenchmarksFile(Versioned):
    """What was asked of whom."""

    tool: Tool
    command: str
    keys: dict[str, str]
    """By model, of everything that decides about its outcomes."""
    benchmarks: tuple[str, ...]
    limit: int | None
    models: tuple[BenchedModel, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Benchmarked:
    """Complete benchmarks, as they were written."""

    root: Path
    about: dict[str, Any]
    """`BenchmarksFile`."""
    tasks: Sequence[BenchTask]
    outcomes: Sequence[Outcome]
    depths: Sequence[DepthOutcome]
    generations: Sequence[Generation]
    changes: Sequence[Change]

    @property
    def models(self) -> list[str]:
        """Names of the models that were asked, in order."""
        return [model["name"] for model in self.about["models"]]

    def twins(self, model: str, *, control: bool | None = None) -> list[str]:
        """Compressions of a model in order; `control`: only those that are, or are not."""
        (of,) = (m for m in self.about["models"] if m["name"] == model)
        return [t["compression"] for t in of["twins"] if control in (None, t["control"])]

    def benchmarks(self, model: str) -> list[str]:
        """Those of which a model has outcomes, in order."""
        seen = {o.benchmark for o in self.outcomes if o.model == model}
        return [b for b in dict.fromkeys(t.benchmark for t in self.tasks) if b in seen]

    def parts(self, benchmark: str) -> list[BenchTask]:
        """The tasks of a benchmark."""
        return [task for task in self.tasks if task.benchmark == benchmark]

    def of(self, model: str, compression: str, benchmark: str) -> list[Outcome]:
        """How one model did on a benchmark, by every metric."""
        wanted = (model, compression, benchmark)
        return [o for o in self.outcomes if (o.model, o.compression, o.benchmark) == wanted]

    def written(self, model: str, compression: str, benchmark: str) -> list[Generation]:
        """What one model wrote for a benchmark."""
        wanted = (model, compression, benchmark)
        return [g for g in self.generations if (g.model, g.compression, g.benchmark) == wanted]

    def depths_of(self, model: str, compression: str, benchmark: str) -> list[DepthOutcome]:
        """How one model's answers to a benchmark took shape."""
        wanted = (model, compression, benchmark)
        return [d for d in self.depths if (d.model, d.compression, d.benchmark) == wanted]

    def change(self, model: str, compression: str, benchmark: str) -> Change | None:
        """What a twin changed in a whole benchmark, by its first metric."""
        metric = self.parts(benchmark)[0].metrics[0]
        wanted = (model, compression, benchmark, "", metric)
        return next(
            (
                c
                for c in self.changes
                if (c.model, c.compression, c.benchmark, c.task, c.metric) == wanted
            ),
            None,
        )


def finished(root: Path) -> bool:
    """Are there benchmarks that came to their end?"""
    return (root / NAME).is_file()


def write_benchmarks(found: Benchmarked) -> None:
    """Write them; they count as complete from the last step on."""
    rows: dict[str, Sequence[Any]] = {
        "tasks": found.tasks,
        "outcomes": found.outcomes,
        "depths": found.depths,
        "generations": found.generations,
        "changes": found.changes,
    }
    last = found.root / NAME
    for name, (_, schema) in TABLES.items():
        write_records(found.root, name, rows[name], schema, last)
    write(last, json_bytes(BenchmarksFile, {"schema": SCHEMA, **found.about}, last))


def read_benchmarks(path: str | Path) -> Benchmarked:
    """Complete benchmarks. BitlensError for a folder that holds none, and for one that is
    damaged."""
    root = Path(path)
    if not finished(root):
        raise ResultsError(
            f"{path} holds no complete benchmarks.",
            f"a folder with {NAME}, as bitlens bench writes it.",
            f"bitlens bench MODEL --to SPEC --benchmarks NAME --out {path}",
        )
    last = root / NAME
    found = Benchmarked(
        root=root,
        about=read_json(BenchmarksFile, last, mended(last, AGAIN)),
        tasks=read_records(root, "tasks", BenchTask, TABLES["tasks"][1], AGAIN),
        outcomes=read_records(root, "outcomes", Outcome, TABLES["outcomes"][1], AGAIN),
        depths=read_records(root, "depths", DepthOutcome, TABLES["depths"][1], AGAIN),
        generations=read_records(root, "generations", Generation, TABLES["generations"][1], AGAIN),
        changes=read_records(root, "changes", Change, TABLES["changes"][1], AGAIN),
    )
    if (wrong := _inconsistent(found)) is not None:
        raise damaged(root, wrong, AGAIN)
    return found


def _inconsistent(found: Benchmarked) -> str | None:
    """Why the tables do not belong together; None where they do. They are data that somebody
    sends, and whoever reads them then needs no doubts of its own."""
    models = found.models
    if len(set(models)) < len(models):
        return "a model is named twice"
    known = {(model, twin) for model in models for twin in (REFERENCE, *found.twins(model))}
    metrics = {(task.benchmark, task.task): task.metrics for task in found.tasks}
    benchmarks = {task.benchmark for task in found.tasks}
    if not all(metrics.values()):
        return "a task has no metric"
    for one in found.outcomes:
        if (one.model, one.compression) not in known:
            return f"there is an outcome of {one.compression!r} of {one.model!r}, who was not asked"
        if one.metric not in metrics.get((one.benchmark, one.task), ()):
            return f"there is an outcome of {one.task!r} by {one.metric!r}, not asked for"
    asked = {(o.model, o.compression, o.benchmark, o.task, o.doc) for o in found.outcomes}
    blocks = {model["name"]: model["blocks"] for model in found.about["models"]}
    for depth in found.depths:
        key = (depth.model, depth.compression, depth.benchmark, depth.task, depth.doc)
        if key not in asked or {len(depth.margins), len(depth.picks)} != {blocks[depth.model]}:
            return f"there is an answer by depth of {depth.task!r} that has no outcome"
    for text in found.generations:
        key = (text.model, text.compression, text.benchmark, text.task, text.doc)
        if key not in asked or text.ended not in ENDINGS:
            return f"there is a text for {text.task!r} that has no outcome or no end"
    for change in found.changes:
        if (change.model, change.compression) not in known or change.benchmark not in benchmarks:
            return f"there is a change of {change.benchmark!r} under {change.compression!r}"
    return None
