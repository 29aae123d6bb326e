"""A job: a sweep as it is handed to other processes, all but the model, which each loads itself."""

import importlib
import io
import os
import pickle
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import torch

from bitlens.compression.checkpoint_twin import CheckpointTwin
from bitlens.compression.checkpoints import open_checkpoint
from bitlens.compression.methods.checkpoint import Checkpoint
from bitlens.config.study_settings import DEMO, is_embedded
from bitlens.demo import model_path
from bitlens.engine.comparisons import Comparison
from bitlens.engine.plan import DocumentSet, Plan, TokenBatch
from bitlens.engine.summation import Summation
from bitlens.engine.swept_model import SweptModel
from bitlens.errors import BitlensError, InputError, ModelError
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, load
from bitlens.models.source import ModelSource
from bitlens.workflows.engines import PlannedSweep

OURS = ("bitlens", "torch", "transformers")
"""Libraries whose versions decide about digits."""
REFERENCE_MODEL, LAYOUT = "loaded", "layout"
"""What stands in a job for the loaded model and for its layout."""


def versions() -> dict[str, str]:
    """What this process computes with."""
    return {name: version(name) for name in OURS}


@dataclass(frozen=True, kw_only=True)
class ModelAsked:
    """The model of a job, and how it is to run: equal ones are loaded once a process."""

    source: ModelSource
    folder: bool
    """Whether it is a folder where the job was made."""
    fingerprint: str
    attention: str
    paired: bool
    memory: int
    """Bytes; blocks stay on disk where the weights would take more than a share of it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SweepJob:
    """A sweep for other processes."""

    name: str
    """Unique among those that a process meets."""
    model: ModelAsked
    packed: bytes
    """Its twins, what is compared and the sets of its documents."""
    hidden_bytes: int
    threads: int
    made_with: Mapping[str, str] = field(default_factory=versions)


@dataclass(frozen=True, kw_only=True)
class Summed:
    """What came of a part."""

    files: Mapping[str, bytes]
    """Those of a `SweepCheckpoint` that is complete; none where it was refused."""
    worker: str
    """Where it was summed up: a machine and a process."""
    refusal: "Refusal | None" = None


@dataclass(frozen=True)
class Refusal:
    """An error of ours, on its way to who shows it: the object itself cannot be pickled."""

    kind: type[BitlensError]
    parts: tuple[str, str, str]

    @classmethod
    def of(cls, error: BitlensError) -> Self:
        """What an error says."""
        return cls(type(error), (error.found, error.expected, error.remedy))

    @property
    def error(self) -> BitlensError:
        """The same again."""
        return self.kind(*self.parts)


@dataclass(frozen=True, eq=False)
class _Unpacked:
    twins: Mapping[str, SweptModel]
    wanted: Sequence[Comparison]
    sets: Mapping[str, DocumentSet]


def job_of(
    sweep: PlannedSweep, name: str, *, hidden_bytes: int, memory: int, threads: int
) -> SweepJob:
    """A planned sweep as a job. BitlensError for a model that was lent: it is nowhere to be
    loaded from."""
    session, measurement = sweep.session, sweep.measurement
    source = session.source
    if source.name in session.given.models:
        raise InputError(
            f"{source.name} was handed over as an object.",
            "a folder or a hub id, which other processes can load.",
            "save it first, or leave --engine ray out.",
        )
    folder = Path(source.name).is_dir()
    where = DEMO if is_embedded(source) else os.path.abspath(source.name) if folder else source.name
    twins = measurement.summation.twins
    return SweepJob(
        name=name,
        model=ModelAsked(
            source=replace(source, name=where),
            folder=folder,
            fingerprint=session.loaded.fingerprint,
            attention=session.loaded.model.config._attn_implementation,
            paired=session.layout.paired,
            memory=memory,
        ),
        packed=_packed(sweep, _Unpacked(twins, measurement.wanted, measurement.plan.sets)),
        hidden_bytes=hidden_bytes,
        threads=threads,
    )


def summed(job: SweepJob, batches: Sequence[TokenBatch]) -> Summed:
    """What this process makes of one part of a job."""
    worker = f"{socket.gethostname()}, process {os.getpid()}"
    try:
        require_same_versions(job.made_with, worker)
        torch.set_num_threads(job.threads)
        layout, _ = _HERE.model(job.model)
        of = _HERE.content(job)
        with tempfile.TemporaryDirectory() as folder:
            plan = Plan(tuple(batches), of.sets)
            one = Summation(layout, of.twins, of.wanted, plan, job.hidden_bytes, Path(folder))
            one.leave()
            files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    except BitlensError as error:
        return Summed(files={}, worker=worker, refusal=Refusal.of(error))
    return Summed(files=files, worker=worker)


def require_same_versions(made_with: Mapping[str, str], worker: str) -> None:
    """BitlensError where this process computes with other versions than who asks."""
    own = versions()
    for name, wanted in made_with.items():
        if own[name] != wanted:
            raise InputError(
                f"{worker} runs {name} {own[name]}, and this command {wanted}.",
                "the same versions everywhere, or digits would depend on who summed up what.",
                f"pip install {name}=={wanted} on every machine of the cluster.",
            )


class _Holding:
    """What this process holds: one model, and one job of it."""

    def __init__(self) -> None:
        self._asked: ModelAsked | None = None
        self._model: tuple[Layout, Loaded] | None = None
        self._job = ""
        self._content: _Unpacked | None = None

    def model(self, asked: ModelAsked) -> tuple[Layout, Loaded]:
        """The model, loaded once as long as no other is asked for."""
        if self._model is None or self._asked != asked:
            self._model, self._content, self._job = None, None, ""
            self._model, self._asked = _loaded(asked), asked
        return self._model

    def content(self, job: SweepJob) -> _Unpacked:
        """What is in a job, unpacked once for all of its parts that come to this process."""
        layout, loaded = self.model(job.model)
        if self._content is None or self._job != job.name:
            self._content = None
            held = {LAYOUT: layout, REFERENCE_MODEL: loaded}

            class Unpickler(pickle.Unpickler):
                def persistent_load(self, key: Any) -> Any:
                    return held[key]

            # What this command packed itself; nothing that came from a file.
            self._content = Unpickler(io.BytesIO(job.packed)).load()
            self._job = job.name
        assert self._content is not None
        return self._content


_HERE = _Holding()


def _loaded(asked: ModelAsked) -> tuple[Layout, Loaded]:
    source, machine = asked.source, socket.gethostname()
    if source.name == DEMO:
        source = replace(source, name=str(model_path()))
    if asked.folder and not Path(source.name).is_dir():
        raise InputError(
            f"{source.name} is no folder on {machine}.",
            "the model's folder at the same path on every machine of the cluster.",
            "put it on a disk that all of them share, or name the model by its hub id.",
        )
    loaded = load(source, asked.memory)
    if loaded.fingerprint != asked.fingerprint:
        raise ModelError(
            f"The weights of {source.name} on {machine} are others than here.",
            "the same files on every machine of the cluster.",
            "copy them again, or put them on a disk that all of them share.",
        )
    if loaded.model.config._attn_implementation != asked.attention:
        loaded.model.set_attn_implementation(asked.attention)
    layout = Layout(loaded.model, loaded.compute)
    layout.paired = asked.paired
    return layout, loaded


def _packed(sweep: PlannedSweep, content: _Unpacked) -> bytes:
    """Everything but the model, which others have loaded themselves. Twins that are checkpoints
    are opened there again."""
    # Half of what is pickled are functions, which only this can.
    cloudpickle: Any = importlib.import_module("ray.cloudpickle")
    session = sweep.session
    held = {id(session.layout): LAYOUT, id(session.loaded): REFERENCE_MODEL}
    trust = session.source.trust_remote_code

    class Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
        def persistent_id(self, value: Any) -> str | None:
            return held.get(id(value))

        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, CheckpointTwin):
                return _opened, (session.layout, session.loaded, value.compression, trust)
            return super().reducer_override(value)

    file = io.BytesIO()
    Pickler(file).dump(content)
    return file.getvalue()


def _opened(layout: Layout, loaded: Loaded, asked: Checkpoint, trust: bool) -> CheckpointTwin:
    """A checkpoint as a twin, opened in another process than the one that asks."""
    return CheckpointTwin(layout, asked, open_checkpoint(asked, loaded, trust))
