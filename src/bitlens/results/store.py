"""The folder of results: plain files, each written whole or not at all, the manifest last.

    OUT/store.json            that the folder is a store, and of which version; written first
    OUT/manifest.json         what was run, deterministic; its presence means the run is complete
    OUT/run.json              what differs from run to run: date, seconds, memory, machine
    OUT/estimates.parquet     one row an estimate
    OUT/contrasts.parquet     one row a twin's number against its control's
    OUT/coverage.parquet      one row a module of a twin
    OUT/cells/ID/             values.parquet, tables of what an analysis shows besides, then
                              cell.json, whose presence means it is complete
    OUT/partial/              tallies of waves already swept, until their cells are written

The same content is the same bytes.
"""

import io
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bitlens.errors import BitlensError
from bitlens.results.counts import count
from bitlens.results.files.names import inside
from bitlens.results.files.writing import GO_ON, ROOM, alone, explained, unfinished, write
from bitlens.results.parquet import check_table, read_table
from bitlens.results.records import SCHEMA, Cell, Value, to_json
from bitlens.results.schema import (
    SHOWN,
    TABLES,
    VALUES,
    CellFile,
    Content,
    Manifest,
    Run,
    Versioned,
    check_json,
    damaged,
    mended,
    read_json,
    refuse_other_version,
)

STORE, MANIFEST, RUN = "store.json", "manifest.json", "run.json"
CELL = "cell.json"

_NAME = re.compile(r"[0-9a-f]{16}")
"""Of a cell, and of the tallies of a sweep."""


class Store:
    """A folder of results: `create` it to write, `open` it to read what is complete."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, path: str | Path) -> "Store":
        """A folder to write to: a new one, an empty one, or a store to go on with."""
        store = cls(Path(path))
        if store.root.exists() and not store.root.is_dir():
            raise BitlensError(f"{path} is a file.", "a folder for results.", "another --out.")
        with explained(store.root, ROOM, GO_ON):
            store.root.mkdir(parents=True, exist_ok=True)
            names = {e.name for e in store.root.iterdir() if not unfinished(e.name)}
        if names and STORE not in names:
            refuse_other_version(store.root / MANIFEST)
            raise BitlensError(
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
        """What was run: `schema.Manifest`. Refuses what is not a complete store."""
        if not self.finished:
            raise self._incomplete()
        return self._read(MANIFEST, Manifest)

    def run(self) -> dict[str, Any]:
        """What differs from run to run: `schema.Run`."""
        return self._read(RUN, Run)

    def write_run(self, record: Mapping[str, Any]) -> None:
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
            self._check_cell({"id": cell.id, **asdict(cell)})
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
        folder, tables = self._cell_folder(cell.id), tables or {}
        content = {"schema": SCHEMA, **asdict(cell), "tables": sorted(tables)}
        write(folder / "values.parquet", _parquet("values", values, VALUES), folder / CELL)
        for name, table in tables.items():
            write(inside(folder, f"{name}.parquet"), _parquet_bytes(name, table))
        write(folder / CELL, _checked(CellFile, content, folder / CELL))

    def read_cell(self, cell_id: str) -> tuple[Cell, list[Value]]:
        """A complete cell and its values, in the order in which they were written."""
        fields = self._cell(cell_id)
        cell = Cell(**{field.name: fields[field.name] for field in dataclass_fields(Cell)})
        path = self._cell_folder(cell_id) / "values.parquet"
        rows = _read_table(path, VALUES).to_pylist()
        return cell, [Value(**{**row, "replicates": tuple(row["replicates"])}) for row in rows]

    def read_cell_table(self, cell_id: str, name: str) -> pa.Table | None:
        """What else the analysis of a complete cell shows, by name; None where it shows nothing."""
        if name not in self._cell(cell_id)["tables"]:
            return None
        path = inside(self._cell_folder(cell_id), f"{name}.parquet")
        return _read_table(path, SHOWN.get(name))

    def write_table(self, name: str, rows: Iterable[Any]) -> None:
        """Write a table of dataclasses or dictionaries with exactly the columns of its schema.

        The manifest is withdrawn in the same step: it vouches for the tables it was written after.
        """
        content = _parquet(name, rows, TABLES[name])
        write(inside(self.root, f"{name}.parquet"), content, withdraw=self.root / MANIFEST)

    def read_table(self, name: str) -> pa.Table:
        """One of `schema.TABLES`."""
        path = inside(self.root, f"{name}.parquet")
        return _read_table(path, TABLES[name])

    def _read(self, name: str, kind: type[Content]) -> dict[str, Any]:
        path = inside(self.root, name)
        return read_json(kind, path, mended(path, AGAIN))

    def _write(self, name: str, kind: type[Content], content: Mapping[str, Any]) -> None:
        path = inside(self.root, name)
        write(path, _checked(kind, content, path))

    def _cell(self, cell_id: str) -> dict[str, Any]:
        """`schema.CellFile` of a complete cell, which is what its name says."""
        path = self._cell_folder(cell_id) / CELL
        content = read_json(CellFile, path, mended(path, AGAIN))
        if Cell(**{f.name: content[f.name] for f in dataclass_fields(Cell)}).id != cell_id:
            raise damaged(path, "its settings are those of another cell", mended(path, AGAIN))
        return content

    @property
    def partial(self) -> Path:
        """The folder for tallies of waves already swept; made when asked for."""
        folder = inside(self.root, "partial")
        with explained(folder, ROOM, GO_ON):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_partial(self) -> None:
        """Drop the tallies: their cells are complete. What else somebody put there stays."""
        folder = inside(self.root, "partial")
        with explained(folder, ROOM, GO_ON):
            if not folder.exists():
                return
            for entry in folder.iterdir():
                if _NAME.fullmatch(entry.name):
                    shutil.rmtree(entry)
            if not any(folder.iterdir()):
                folder.rmdir()

    def _cell_folder(self, cell_id: str) -> Path:
        if not _NAME.fullmatch(cell_id):
            raise BitlensError(
                f"{cell_id!r} is not the name of a cell.",
                "sixteen hexadecimal digits, as the manifest lists them.",
                AGAIN,
            )
        return inside(inside(self.root, "cells"), cell_id)

    def _check(self) -> None:
        """That every file is there and holds what it should, and that they speak of the same."""
        manifest, _ = self.manifest(), self.run()
        for name, schema in TABLES.items():
            _check_table(inside(self.root, f"{name}.parquet"), schema)
        for entry in manifest["cells"]:
            if entry["status"] == "done":
                self._check_cell(entry)
        self._check_names(manifest)

    def _check_cell(self, entry: Mapping[str, Any]) -> None:
        folder, cell = self._cell_folder(entry["id"]), self._cell(entry["id"])
        for name in ("model", "compression", "analysis", "seed"):
            if cell[name] != entry[name]:
                path = folder / CELL
                raise damaged(path, f"{name} is not what {MANIFEST} says", mended(path, AGAIN))
        _check_table(folder / "values.parquet", VALUES)
        for name in cell["tables"]:
            _check_table(inside(folder, f"{name}.parquet"), SHOWN.get(name))

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
        for name in TABLES:
            of = self.read_table(name).select(["model", "compression"]).to_pylist()
            named |= {(row["model"], row["compression"]) for row in of}
        for model, compression in sorted(named - twins):
            raise damaged(path, f"twins has no {compression} of {model}", again)
        for name in ("estimates", "contrasts"):
            of = self.read_table(name).select(["analysis", "metric"]).to_pylist()
            for metric in sorted({f"{row['analysis']}.{row['metric']}" for row in of}):
                if metric not in manifest["metrics"]:
                    raise damaged(path, f"metrics has no {metric}", again)

    def _incomplete(self) -> BitlensError:
        if not self.root.is_dir():
            return BitlensError(
                f"{self.root} is not a folder." if self.root.exists() else f"No {self.root} here.",
                "a folder of results.",
                f"bitlens audit MODEL --to rtn:bits=4 --out {self.root}",
            )
        if not (self.root / STORE).is_file():
            return BitlensError(
                f"{self.root} holds no results of bitlens: there is no {MANIFEST}.",
                "a folder written by bitlens audit, study or demo.",
                f"bitlens audit MODEL --to rtn:bits=4 --out {self.root}",
            )
        cells = len(self.complete())
        return BitlensError(
            f"{self.root} holds an unfinished run: {count(cells, 'cell')} complete, no {MANIFEST}.",
            "a finished run; the manifest is written last.",
            f"the command that began it, again with --out {self.root}: it does what is missing.",
        )


AGAIN = "run the command that made it again; it computes only what is missing."


def _json(content: Any) -> bytes:
    return (to_json(content, indent=1) + "\n").encode()


def _parquet(name: str, rows: Iterable[Any], schema: pa.Schema) -> bytes:
    records = [dict(row) if isinstance(row, Mapping) else dict(vars(row)) for row in rows]
    for record in records:
        if record.keys() != set(schema.names):
            raise ValueError(f"{name}: columns {sorted(record)}, expected {schema.names}")
    return _parquet_bytes(name, pa.Table.from_pylist(records, schema=schema))


def _parquet_bytes(name: str, table: pa.Table) -> bytes:
    for column in table.column_names:
        numbers = table[column]
        if pa.types.is_list(numbers.type):
            numbers = pc.list_flatten(numbers)
        if pa.types.is_floating(numbers.type) and pc.any(pc.invert(pc.is_finite(numbers))).as_py():
            raise ValueError(f"{name}: {column} holds a number that is not finite")
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def _checked(kind: type[Content], content: Mapping[str, Any], path: Path) -> bytes:
    """As it is written, if it will be read: a mistake of ours is found now, not by a reader."""
    data = _json(content)
    check_json(kind, json.loads(data), path, "report this: it is a mistake in bitlens.")
    return data


def _check_table(path: Path, schema: pa.Schema | None) -> None:
    check_table(path, schema, mended(path, AGAIN))


def _read_table(path: Path, schema: pa.Schema | None) -> pa.Table:
    return read_table(path, schema, mended(path, AGAIN))
