"""What is written down about a run besides the numbers: its manifest and its record."""

import os
import platform
import resource
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from bitlens.analyses import ANALYSES
from bitlens.compression import coverage
from bitlens.compression.requests import TwinRequest
from bitlens.compression.twin_builder import BuiltTwins
from bitlens.config.study import Study
from bitlens.data.corpus import Corpus
from bitlens.engine.plan import Plan
from bitlens.models.source import ModelSource, name_of
from bitlens.results.benchmarks.estimates import named_metrics
from bitlens.results.counts import agreeing, count
from bitlens.results.files.home import without_home
from bitlens.results.records import Cell, Check, TwinRecord
from bitlens.workflows.audit.cells import Cells
from bitlens.workflows.audit.selection import Selection
from bitlens.workflows.audit.validity import token_bytes
from bitlens.workflows.bench.run import ModelBench
from bitlens.workflows.session import Session


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelAudit:
    """One model and seed of a study, audited."""

    session: Session
    selection: Selection
    requests: Sequence[TwinRequest]
    built: BuiltTwins
    cells: Cells
    checks: Sequence[Check]
    about_controls: Sequence[str] = ()
    """What the reader should know of the documents of the controls."""

    @property
    def name(self) -> str:
        """The model's."""
        return self.session.loaded.name

    def model(self) -> dict[str, Any]:
        """What was audited, and with which SAEs."""
        described = describe_model(self.session)
        return described | {"saes": [placed.record for placed in self.selection.saes]}

    def twins(self) -> list[dict[str, Any]]:
        """Every twin that was asked for, and what became of it."""
        return [{"model": self.name, **asdict(self._twin(request))} for request in self.requests]

    def coverage(self) -> list[dict[str, Any]]:
        """A row a parameter of every twin that has cells; a floor is no model to ship."""
        lost = self.cells.lost
        return [
            {"model": self.name, "compression": request.text, **asdict(row)}
            for request in self.requests
            if request.text in self.built.twins and request.text not in lost and not request.floor
            for row in self.built.twins[request.text].coverage()
        ]

    def corpus(self) -> dict[str, Any]:
        """What was read, and what is to be known of it."""
        described = describe_corpus(self.session, self.selection.plan)
        notes = [note for corpus, _ in self.selection.own.values() for note in corpus.notes]
        notes += [*self.built.notes, *self.selection.notes, *self.about_controls]
        stopped = self.session.stopped
        until = {"until": asdict(stopped)} if stopped else {}
        return {**described, "notes": described["notes"] + notes, **until}

    def _twin(self, request: TwinRequest) -> TwinRecord:
        twin = self.built.twins.get(request.text)
        reason = self.cells.lost.get(request.text)
        # A floor is no model to ship: it has no bits.
        made = twin if reason is None and not request.floor else None
        total = coverage.total(made.coverage()) if made is not None else None
        dtype = (twin and twin.arithmetic) or self.session.layout.compute
        kept = request.compression.cache
        return TwinRecord(
            compression=request.text,
            control=request.control,
            like=request.like,
            bits=total.bits if total else None,
            bytes=total.bytes if total else None,
            token_bytes=token_bytes(self.session.layout, kept) if kept else None,
            dtype=str(dtype).removeprefix("torch."),
            floor=request.floor,
            rounded_inputs=len(made.rounded) if made is not None else 0,
            calibrated="calibration" in self.built.identity.get(request.text, {}),
            status="failed" if reason else "done",
            reason=reason,
        )


@dataclass(kw_only=True)
class ManifestParts:
    """What a run hands to the manifest, model by model."""

    models: list[dict[str, Any]] = field(default_factory=list)
    corpora: list[dict[str, Any]] = field(default_factory=list)
    twins: list[dict[str, Any]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)
    coverage: list[dict[str, Any]] = field(default_factory=list)
    benches: list[ModelBench] = field(default_factory=list)

    def add(self, audited: ModelAudit) -> None:
        """What was run, on what, and how each cell ended; of a model with several seeds its twins
        and checks once."""
        if audited.name not in [model["name"] for model in self.models]:
            self.models.append(audited.model())
            self.checks += [replace(check, model=audited.name) for check in audited.checks]
            self.twins += audited.twins()
            self.coverage += audited.coverage()
        self.corpora.append(audited.corpus())
        for key, cell in audited.cells.by_key.items():
            cells = audited.cells
            self.cells.append(cell_entry(cell, cells.failed.get(key), cells.paired.get(key)))

    def add_failure(self, study: Study, source: ModelSource, seed: int, reason: str) -> None:
        """A model that could not be audited at all, and why."""
        self.cells += [
            cell_entry(
                Cell(model=name_of(source), compression=text, analysis=analysis, seed=seed), reason
            )
            for text in study.compressions
            for analysis in study.analyses
        ]


def describe_model(session: Session) -> dict[str, Any]:
    """A model as it was loaded and run."""
    loaded, layout, source = session.loaded, session.layout, session.source
    return {
        "name": loaded.name,
        "revision": source.revision,
        "fingerprint": loaded.fingerprint,
        "family": layout.config.model_type,
        "blocks": layout.depth,
        "width": layout.width,
        "heads": int(layout.config.num_attention_heads),
        "vocabulary": layout.vocabulary,
        "parameters": sum(p.numel() for p in layout.model.parameters()),
        "bytes": loaded.weight_bytes,
        "token_bytes": token_bytes(layout),
        "dtype": str(layout.dtype).removeprefix("torch."),
        "compute": str(layout.compute).removeprefix("torch."),
        "device": str(layout.device),
        "attention": loaded.model.config._attn_implementation,
        "from_disk": loaded.offloaded,
        "remote_code": source.trust_remote_code,
    }


def describe_corpus(session: Session, plan: Plan) -> dict[str, Any]:
    """The evaluation texts as the model read them."""
    corpus = session.corpus
    return {
        "name": corpus.name,
        "model": session.loaded.name,
        "seed": session.seed,
        "documents": corpus.n_documents,
        "tokens": corpus.n_tokens,
        "positions": plan.positions,
        "windows": len(corpus.rows),
        "context": corpus.context,
        "bos": corpus.bos,
        "positions_rule": session.study.positions,
        "token_hash": corpus.token_hash,
        "notes": [*corpus.notes, *_about_copies(corpus)],
    }


def _about_copies(corpus: Corpus) -> list[str]:
    if not corpus.copies:
        return []
    return [
        f"Of {count(corpus.n_documents, 'document')} {corpus.copies:,} "
        f"{agreeing(corpus.copies, 'is a copy of another', 'are copies of others')}, word for word "
        f"or nearly: all are read, and count as {count(corpus.n_units, 'sampling unit')}."
    ]


def cell_entry(cell: Cell, reason: str | None, paired: str | None = None) -> dict[str, Any]:
    """A cell of the manifest; `reason`: why there is nothing in it; `paired`: the id of the same on
    the documents of the controls."""
    return {
        "id": cell.id,
        "model": cell.model,
        "compression": cell.compression,
        "analysis": cell.analysis,
        "seed": cell.seed,
        "status": "failed" if reason else "done",
        "reason": reason,
        "paired": paired,
    }


def make_manifest(study: Study, command: str, done: ManifestParts) -> dict[str, Any]:
    """The manifest of a store: what was asked for, on what it ran, and how it ended."""
    metrics = {
        f"{name}.{metric.name}": asdict(metric)
        for name in study.analyses
        for metric in ANALYSES[name].metrics
    }
    if done.benches:
        metrics |= {name: asdict(metric) for name, metric in named_metrics().items()}
    return {
        "tool": {"version": version("bitlens")},
        "command": without_home(command),
        "models": done.models,
        "corpora": done.corpora,
        "settings": study.to_dict(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "numpy", "scipy")},
        },
        "twins": done.twins,
        "checks": [asdict(check) for check in done.checks],
        "metrics": metrics,
        "cells": done.cells,
    }


def peak_bytes() -> int:
    """The most memory this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: it also counts what the process was before it became this program.
        line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    scale = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def run_record(seconds: float) -> dict[str, Any]:
    """What differs from run to run."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "peak_bytes": peak_bytes(),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "memory": psutil.virtual_memory().total,
            "gpu": gpu,
            "peak_gpu_bytes": torch.cuda.max_memory_allocated() if gpu else None,
        },
    }
