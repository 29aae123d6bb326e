"""The folder of results: plain files, each written whole or not at all, the manifest last.

    OUT/store.json            that the folder is a store, and of which version; written first
    OUT/manifest.json         what was run, deterministic; its presence means the run is complete
    OUT/run.json              what differs from run to run: date, seconds, memory, machine
    OUT/estimates.parquet     one row an estimate
    OUT/contrasts.parquet     one row a twin's number against its control's
    OUT/coverage.parquet      one row a module of a twin
    OUT/categories.parquet    one row a number of a category of the texts, where some were named
    OUT/cells/ID/             values.parquet, tables of what an analysis shows besides, then
                              cell.json, whose presence means it is complete
    OUT/partial/              accumulators of waves already swept, until their cells are written

The same content is the same bytes.
"""

import shutil
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bitlens.errors import BitlensError, InputError, ResultsError
from bitlens.registry import nearest
from bitlens.results.cells import CELL, NAME, CellFolder
from bitlens.results.columns import texts
from bitlens.results.counts import count
from bitlens.results.files.names import inside
from bitlens.results.files.writing import GO_ON, ROOM, alone, explained, unfinished, write
from bitlens.results.json_files import (
    AGAIN,
    damaged,
    json_bytes,
    mended,
    read_json,
    refuse_other_version,
)
from bitlens.results.manifest_schema import Content, Manifest, Run, Versioned
from bitlens.results.parquet import check_table, read_table, rows_as_parquet
from bitlens.results.records import SCHEMA, Cell, Value
from bitlens.results.table_schema import OPTIONAL, SHOWN, TABLES

STORE, MANIFEST, RUN = "store.json", "manifest.json", "run.json"


class Store:
    """A folder of results: `create` it to write, `open` it to read what is complete."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, path: str | Path) -> "Store":
        """A folder to write to: a new one, an empty one, or a store to go on with. ResultsError for
        a file, or a folder with other files."""
        store = cls(Path(path))
        if store.root.exists() and not store.root.is_dir():
            raise ResultsError(f"{path} is a file.", "a folder for results.", "another --out.")
        with explained(store.root, ROOM, GO_ON):
            store.root.mkdir(parents=True, exist_ok=True)
            names = {e.name for e in store.root.iterdir() if not unfinished(e.name)}
        if names and STORE not in names:
            refuse_other_version(store.root / MANIFEST)
            raise ResultsError(
                f"{path} already holds other files ({min(names)}, ...).",
                "a new or empty folder, or one written by bitlens.",
                "another --out.",
            )
        for name, kind in ((STORE, Versioned), (MANIFEST, Manifest)):
            if name in names:
                store._read(name, kind)
        if not names:
            store._write(STORE, Versioned, {"schema": SCHEMA})
        with explained(store.root, ROOM, GO_ON):
            inside(store.root, "cells").mkdir(exist_ok=True)
        return store

    def alone(self) -> AbstractContextManager[None]:
        """To be written to by nobody else."""
        return alone(self.root)

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """A complete store to read: all of it is there, and what it should be."""
        store = cls(Path(path))
        store._check()
        return store

    def manifest(self) -> dict[str, Any]:
        """What was run: `manifest_schema.Manifest`. Refuses what is not a complete store."""
        if not self.finished:
            raise self._incomplete()
        return self._read(MANIFEST, Manifest)

    def run(self) -> dict[str, Any]:
        """What differs from run to run: `manifest_schema.Run`."""
        return self._read(RUN, Run)

    def write_run(self, record: Mapping[str, Any]) -> None:
        """Write what differs from run to run: `manifest_schema.Run`."""
        self._write(RUN, Run, record)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Written last: says that everything else is there. Adds the schema."""
        self._write(MANIFEST, Manifest, {**manifest, "schema": SCHEMA})

    @property
    def finished(self) -> bool:
        """Is there a run that came to its end?"""
        return (self.root / MANIFEST).is_file()

    def has(self, cell: Cell) -> bool:
        """Is this cell already complete, with all that it shows?"""
        try:
            CellFolder.of(self.root, cell.id).check(asdict(cell), MANIFEST)
        except (BitlensError, OSError):
            return False
        return True

    def complete(self) -> list[str]:
        """The ids of all complete cells, sorted."""
        return sorted(path.parent.name for path in self.root.glob(f"cells/*/{CELL}"))

    def write_cell(
        self, cell: Cell, values: Iterable[Value], tables: Mapping[str, pa.Table] | None = None
    ) -> None:
        """Write a cell; it counts as complete from the last step on. `tables`: by name, what the
        analysis shows besides values."""
        CellFolder.of(self.root, cell.id).write(cell, values, tables or {})

    def read_cell(self, cell_id: str) -> tuple[Cell, list[Value]]:
        """A complete cell and its values, in the order in which they were written."""
        return CellFolder.of(self.root, cell_id).read()

    def read_cell_table(self, cell_id: str, name: str) -> pa.Table | None:
        """What else the analysis of a complete cell shows, by name; None where it shows nothing."""
        return CellFolder.of(self.root, cell_id).read_table(name)

    def write_table(self, name: str, rows: Iterable[Any]) -> None:
        """Write a table of dataclasses or dictionaries with exactly the columns of its schema.

        The manifest is withdrawn in the same step: it vouches for the tables it was written after.
        """
        content = rows_as_parquet(name, rows, {**TABLES, **OPTIONAL}[name])
        write(inside(self.root, f"{name}.parquet"), content, withdraw=self.root / MANIFEST)

    def read_table(self, name: str) -> pa.Table:
        """One of `table_schema.TABLES`, or of OPTIONAL, which has no rows where the run did not
        write it. InputError for another name."""
        if name not in TABLES and name not in OPTIONAL:
            raise _no_table(name)
        path = inside(self.root, f"{name}.parquet")
        if name in OPTIONAL and not path.exists():
            return OPTIONAL[name].empty_table()
        return read_table(path, {**TABLES, **OPTIONAL}[name], mended(path, AGAIN))

    def _read(self, name: str, kind: type[Content]) -> dict[str, Any]:
        path = inside(self.root, name)
        return read_json(kind, path, mended(path, AGAIN))

    def _write(self, name: str, kind: type[Content], content: Mapping[str, Any]) -> None:
        path = inside(self.root, name)
        write(path, json_bytes(kind, content, path))

    @property
    def partial(self) -> Path:
        """The folder for accumulators of waves already swept; made when asked for."""
        folder = inside(self.root, "partial")
        with explained(folder, ROOM, GO_ON):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_partial(self) -> None:
        """Drop the accumulators: their cells are complete. What else somebody put there stays."""
        folder = inside(self.root, "partial")
        with explained(folder, ROOM, GO_ON):
            if not folder.exists():
                return
            for entry in folder.iterdir():
                if NAME.fullmatch(entry.name):
                    shutil.rmtree(entry)
            if not any(folder.iterdir()):
                folder.rmdir()

    def _check(self) -> None:
        """That every file is there and holds what it should, and that they speak of the same."""
        manifest, _ = self.manifest(), self.run()
        for name, schema in TABLES.items():
            path = inside(self.root, f"{name}.parquet")
            check_table(path, schema, mended(path, AGAIN))
        for entry in manifest["cells"]:
            if entry["status"] == "done":
                for cell_id in filter(None, (entry["id"], entry.get("paired"))):
                    CellFolder.of(self.root, cell_id).check(entry, MANIFEST)
        self._check_names(manifest)

    def _check_names(self, manifest: Mapping[str, Any]) -> None:
        """What the tables and the cells speak of is known to the manifest."""
        models = {model["name"] for model in manifest["models"]}
        twins = {(twin["model"], twin["compression"]) for twin in manifest["twins"]}
        of_corpora = {corpus["model"] for corpus in manifest["corpora"]}
        path = self.root / MANIFEST
        again = mended(path, AGAIN)
        for unknown in sorted((of_corpora | {model for model, _ in twins}) ^ models):
            raise damaged(path, f"model {unknown} is not in models, corpora and twins alike", again)
        named = {
            (cell["model"], cell["compression"])
            for cell in manifest["cells"]
            if cell["status"] == "done"
        }
        tables = {name: self.read_table(name) for name in (*TABLES, *OPTIONAL)}
        for table in tables.values():
            named |= {(model, name) for model, name in _distinct(table, "model", "compression")}
        for model, compression in sorted(named - twins):
            raise damaged(path, f"twins has no {compression} of {model}", again)
        for name in ("estimates", "contrasts", *OPTIONAL):
            for metric in sorted(map(".".join, _distinct(tables[name], "analysis", "metric"))):
                if metric not in manifest["metrics"]:
                    raise damaged(path, f"metrics has no {metric}", again)

    def _incomplete(self) -> BitlensError:
        if not self.root.is_dir():
            return ResultsError(
                f"{self.root} is not a folder." if self.root.exists() else f"No {self.root} here.",
                "a folder of results.",
                f"bitlens audit MODEL --to rtn:bits=4 --out {self.root}",
            )
        if not (self.root / STORE).is_file():
            return ResultsError(
                f"{self.root} holds no results of bitlens: there is no {MANIFEST}.",
                "a folder written by bitlens audit, study or demo.",
                f"bitlens audit MODEL --to rtn:bits=4 --out {self.root}",
            )
        cells = len(self.complete())
        return ResultsError(
            f"{self.root} holds an unfinished run: {count(cells, 'cell')} complete, no {MANIFEST}.",
            "a finished run; the manifest is written last.",
            f"the command that began it, again with --out {self.root}: it does what is missing.",
        )


def _no_table(name: str) -> InputError:
    if name in SHOWN:
        return InputError(
            f"{name} is no table of the whole store: every twin has its own.",
            f"one of {', '.join((*TABLES, *OPTIONAL))}; or a twin's own table.",
            f"bitlens.open(run).details(twin, analysis, {name!r}), or features(twin).",
        )
    known = [*TABLES, *SHOWN]
    return InputError(
        f"A store has no table {name!r}.",
        f"one of {', '.join((*TABLES, *OPTIONAL))}.",
        nearest(name, known) or "bitlens export --help lists what can be had.",
    )


def _distinct(table: pa.Table, *columns: str) -> list[tuple[str, ...]]:
    """What these columns hold together, each once; a table may have a million rows."""
    # Arrow's own grouping loads pandas first.
    found = [texts(table[name].combine_chunks()) for name in columns]
    sizes = [len(known) for known, _ in found]
    places = np.unravel_index(
        np.unique(np.ravel_multi_index([which for _, which in found], sizes)), sizes
    )
    said = ([known[n] for n in at] for (known, _), at in zip(found, places, strict=True))
    return list(zip(*said, strict=True))
