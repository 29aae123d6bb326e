"""What is written down about a run, besides the numbers."""

import os
import platform
import resource
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from bitlens.analyses import ANALYSES
from bitlens.compression import coverage
from bitlens.compression.requests import TwinRequest
from bitlens.compression.twin import Twin
from bitlens.config.study import Study
from bitlens.data.corpus import Corpus
from bitlens.engine.plan import Plan
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded
from bitlens.models.source import ModelSource
from bitlens.results.counts import agreeing, count
from bitlens.results.files.home import without_home
from bitlens.results.records import Cell, Check, TwinRecord


@dataclass
class Done:
    """What a run hands to the manifest, model by model."""

    models: list[dict[str, Any]] = field(default_factory=list)
    corpora: list[dict[str, Any]] = field(default_factory=list)
    twins: list[dict[str, Any]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)
    coverage: list[dict[str, Any]] = field(default_factory=list)


def describe_model(loaded: Loaded, layout: Layout, source: ModelSource) -> dict[str, Any]:
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
        "dtype": str(layout.dtype).removeprefix("torch."),
        "compute": str(layout.compute).removeprefix("torch."),
        "device": str(layout.device),
        "attention": loaded.model.config._attn_implementation,
        "from_disk": loaded.offloaded,
        "remote_code": source.trust_remote_code,
    }


def twin_record(
    side: TwinRequest,
    twin: Twin | None,
    reference: torch.dtype,
    calibrated: bool,
    reason: str | None,
) -> TwinRecord:
    # A floor is no model to ship: it has no bits.
    made = twin if reason is None and not side.floor else None
    total = coverage.total(made.coverage()) if made is not None else None
    return TwinRecord(
        side.text,
        side.control,
        side.like,
        total.bits if total else None,
        total.bytes if total else None,
        str((twin and twin.arithmetic) or reference).removeprefix("torch."),
        side.floor,
        len(made.rounded) if made is not None else 0,
        calibrated,
        "failed" if reason else "done",
        reason,
    )


def describe_corpus(corpus: Corpus, plan: Plan, model: str, seed: int, rule: str) -> dict[str, Any]:
    return {
        "name": corpus.name,
        "model": model,
        "seed": seed,
        "documents": corpus.n_documents,
        "tokens": corpus.n_tokens,
        "positions": plan.positions,
        "windows": len(corpus.rows),
        "context": corpus.context,
        "bos": corpus.bos,
        "positions_rule": rule,
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


def cell_entry(cell: Cell, status: str, reason: str | None) -> dict[str, Any]:
    return {
        "id": cell.id,
        "model": cell.model,
        "compression": cell.compression,
        "analysis": cell.analysis,
        "seed": cell.seed,
        "status": status,
        "reason": reason,
    }


def make_manifest(study: Study, command: str, done: Done) -> dict[str, Any]:
    metrics = {
        f"{name}.{metric.name}": asdict(metric)
        for name in study.analyses
        for metric in ANALYSES[name].metrics
    }
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
