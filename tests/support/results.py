"""A whole manifest and what belongs to it: a test names what it is about, the rest is made up."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from bitlens.config.study import audit_of
from bitlens.results.records import Cell, TwinRecord
from bitlens.results.store import Store
from bitlens.results.table_schema import SHOWN

CELL = Cell(model="m", compression="rtn:bits=4", analysis="behaviour", seed=0)
RUN: dict[str, Any] = {
    "date": "2026-11-21T10:02:11+00:00",
    "seconds": 148.2,
    "peak_bytes": 1_400_000_000,
    "machine": {
        "processor": "x86_64",
        "cores": 2,
        "threads": 1,
        "memory": 8_000_000_000,
        "gpu": None,
        "peak_gpu_bytes": None,
    },
}


def settings(**known: Any) -> dict[str, Any]:
    """Of a study, as they are written down."""
    return audit_of("gpt2", "rtn:bits=4", text="texts.jsonl").to_dict() | known


def model(name: str = "m", **known: Any) -> dict[str, Any]:
    """A model of the manifest."""
    return {
        "name": name,
        "fingerprint": "5d1c",
        "revision": None,
        "family": "llama",
        "blocks": 4,
        "width": 128,
        "heads": 4,
        "vocabulary": 4096,
        "parameters": 1_310_720,
        "bytes": 5_242_880,
        "dtype": "float32",
        "compute": "float32",
        "device": "cpu",
        "attention": "sdpa",
        "token_bytes": None,
        "from_disk": False,
        "remote_code": False,
        "saes": [],
    } | known


def sae(label: str = "sae", site: str = "resid.1", **known: Any) -> dict[str, Any]:
    """An SAE of a model."""
    return {
        "label": label,
        "site": site,
        "hook": f"blocks.{site.rpartition('.')[2]}.hook_resid_post",
        "architecture": "topk",
        "latents": 1024,
        "fingerprint": "c3c3",
        "fvu": 0.14,
        "l0": 32.0,
    } | known


def corpus(of: str = "m", **known: Any) -> dict[str, Any]:
    """A text of the manifest, as this model read it."""
    return {
        "name": "demo evaluation texts",
        "model": of,
        "seed": 0,
        "documents": 120,
        "tokens": 61_312,
        "positions": 60_904,
        "windows": 240,
        "context": 256,
        "bos": True,
        "positions_rule": "content",
        "token_hash": "9f2c1ab04d7e5513",
        "notes": [],
        "until": None,
    } | known


def twin(compression: str = "rtn:bits=4", of: str = "m", **known: Any) -> dict[str, Any]:
    """A twin of the manifest."""
    return {
        **asdict(TwinRecord(compression=compression, control=False, bits=4.05)),
        "model": of,
    } | known


def entry(cell: Cell, **known: Any) -> dict[str, Any]:
    """How a cell ended."""
    place = {name: getattr(cell, name) for name in ("id", "model", "compression", "analysis")}
    return {**place, "seed": cell.seed, "status": "done", "reason": None, "paired": None} | known


def manifest(**known: Any) -> dict[str, Any]:
    """All of it; by default of one model, one twin and one cell that failed."""
    return {
        "tool": {"version": "0.1.0"},
        "command": "bitlens audit m --to rtn:bits=4 --out results",
        "models": [model()],
        "corpora": [corpus()],
        "settings": settings(),
        "versions": {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0"},
        "twins": [twin()],
        "checks": [],
        "metrics": {},
        "cells": [entry(CELL, status="failed", reason="not run")],
    } | known


def shown(name: str, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """A table that an analysis shows; columns that no row has hold nothing."""
    schema = SHOWN[name]
    assert not {column for row in rows for column in row} - set(schema.names)
    blank = {field.name: None if field.nullable else _blank(field.type) for field in schema}
    return pa.Table.from_pylist([blank | row for row in rows], schema=schema)


def _blank(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return []
    return "" if pa.types.is_string(kind) else 0


def complete(store: Store, **known: Any) -> None:
    """Write what is missing of a store whose cells are there."""
    for name in ("estimates", "contrasts", "coverage"):
        if not (store.root / f"{name}.parquet").exists():
            store.write_table(name, [])
    store.write_run(RUN)
    store.write_manifest(manifest(**known))
