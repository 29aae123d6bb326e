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

import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bitlens.errors import BitlensError
from bitlens.records import SCHEMA, Cell, Value, to_json
from bitlens.writing import GO_ON, ROOM, alone, explained, unfinished, write

TEXT, NUMBER, COUNT, FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()

_PLACE = {"metric": TEXT, "site": TEXT, "item": TEXT}
VALUES = pa.schema(
    _PLACE
    | {"value": NUMBER, "replicates": pa.list_(NUMBER), "chance": NUMBER}
    | {"documents": COUNT, "reason": TEXT}
)
"""Of a cell: one row a `records.Value`."""
ESTIMATES = pa.schema(
    {"model": TEXT, "compression": TEXT, "bits": NUMBER, "analysis": TEXT}
    | _PLACE
    | {"value": NUMBER, "low": NUMBER, "high": NUMBER, "documents": COUNT}
    | {"intact": NUMBER, "chance": NUMBER, "worse": TEXT, "reason": TEXT, "seed": COUNT}
)
CONTRASTS = pa.schema(
    {"model": TEXT, "compression": TEXT, "control": TEXT, "analysis": TEXT}
    | _PLACE
    | {"difference": NUMBER, "low": NUMBER, "high": NUMBER, "p": NUMBER, "q": NUMBER}
    | {"documents": COUNT, "reason": TEXT, "seed": COUNT}
)
COVERAGE = pa.schema(
    {"model": TEXT, "compression": TEXT, "module": TEXT, "kind": TEXT, "compressed": FLAG}
    | {"format": TEXT, "bits": NUMBER, "group": COUNT, "parameters": COUNT, "bytes": COUNT}
    | {"changed": NUMBER, "relative_error": NUMBER, "sqnr_db": NUMBER, "reason": TEXT, "note": TEXT}
)

STORE, MANIFEST, CELL = "store.json", "manifest.json", "cell.json"

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
        if names and not names & {STORE, MANIFEST}:
            raise BitlensError(
                f"{path} already holds other files ({min(names)}, ...).",
                "a new or empty folder, or one written by bitlens.",
                "another --out.",
            )
        if STORE in names:
            _check_schema(store.root / STORE, store.read_json("store"))
        if MANIFEST in names:
            store.manifest()
        if not names:
            store.write_json("store", {"schema": SCHEMA})
        with explained(store.root, ROOM, GO_ON):
            inside(store.root, "cells").mkdir(exist_ok=True)
        return store

    def alone(self) -> AbstractContextManager[None]:
        """To be written to by nobody else."""
        return alone(self.root)

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """A complete store to read."""
        store = cls(Path(path))
        store.manifest()
        return store

    def manifest(self) -> dict[str, Any]:
        """What was run. Refuses what is not a complete store of this version."""
        if not (self.root / MANIFEST).is_file():
            raise self._incomplete()
        manifest = self.read_json("manifest")
        _check_schema(self.root / MANIFEST, manifest)
        return manifest

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Written last: says that everything else is there. Adds the schema."""
        self.write_json("manifest", {**manifest, "schema": SCHEMA})

    def has(self, cell: Cell) -> bool:
        """Is this cell already complete?"""
        return (self._cell_folder(cell.id) / CELL).is_file()

    def complete(self) -> list[str]:
        """The ids of all complete cells, sorted."""
        return sorted(path.parent.name for path in self.root.glob(f"cells/*/{CELL}"))

    def write_cell(
        self, cell: Cell, values: Iterable[Value], tables: Mapping[str, pa.Table] | None = None
    ) -> None:
        """Write a cell; it counts as complete from the last step on. `tables`: by name, what the
        analysis shows besides values."""
        folder = self._cell_folder(cell.id)
        write(folder / "values.parquet", _parquet("values", values, VALUES))
        for name, table in (tables or {}).items():
            write(inside(folder, f"{name}.parquet"), _parquet_bytes(name, table))
        write(folder / CELL, _json({"schema": SCHEMA, **asdict(cell)}))

    def read_cell(self, cell_id: str) -> tuple[Cell, list[Value]]:
        """A complete cell and its values, in the order in which they were written."""
        folder = self._cell_folder(cell_id)
        again = f"delete the folder {folder}; the command that made it computes only this again."
        fields = _read_json(folder / CELL, again)
        _check_schema(folder / CELL, fields)
        try:
            cell = Cell(**{name: fields[name] for name in fields if name != "schema"})
        except TypeError:
            raise _damaged(folder / CELL, "it is not a cell", again) from None
        if cell.id != cell_id:
            raise _damaged(folder / CELL, "its settings are those of another cell", again)
        rows = _read_parquet(folder / "values.parquet", VALUES, again).to_pylist()
        return cell, [Value(**{**row, "replicates": tuple(row["replicates"])}) for row in rows]

    def read_cell_table(self, cell_id: str, name: str) -> pa.Table | None:
        """What else the analysis of a complete cell shows, by name; None where it shows nothing."""
        path = inside(self._cell_folder(cell_id), f"{name}.parquet")
        return _read_parquet(path, None, f"delete {path} and {AGAIN}") if path.is_file() else None

    def write_table(self, name: str, rows: Iterable[Any], schema: pa.Schema) -> None:
        """Write a table of dataclasses or dictionaries with exactly the schema's columns.

        The manifest is withdrawn in the same step: it vouches for the tables it was written after.
        """
        content = _parquet(name, rows, schema)
        write(inside(self.root, f"{name}.parquet"), content, withdraw=self.root / MANIFEST)

    def read_table(self, name: str, schema: pa.Schema | None = None) -> pa.Table:
        """A table of the store, with the schema it must have where one is given."""
        path = inside(self.root, f"{name}.parquet")
        return _read_parquet(path, schema, f"delete {path} and {AGAIN}")

    def write_json(self, name: str, content: Any) -> None:
        """Write `NAME.json`: strict, sorted, indented."""
        write(inside(self.root, f"{name}.json"), _json(content))

    def read_json(self, name: str) -> Any:
        """What `NAME.json` holds."""
        path = inside(self.root, f"{name}.json")
        return _read_json(path, f"delete {path} and {AGAIN}")

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
            f"{self.root} holds an unfinished run: {cells} cell{'s' * (cells != 1)} complete, "
            f"no {MANIFEST}.",
            "a finished run; the manifest is written last.",
            f"the command that began it, again with --out {self.root}: it does what is missing.",
        )


AGAIN = "run the command that made it again; it computes only what is missing."


def sanitise(name: str) -> str:
    """What may a file be called after this name? Letters, digits, `.`, `_`, `-`; never a path.

    A name that is fine stays as it is. Otherwise a hash of the original is appended, so that
    different names stay different; names that a shell, or Windows, reads as something else (`..`,
    `-rf`, `CON`) are changed too.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100]
    safe = re.sub(r"^[.-]|\.$", "_", safe)
    if re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", safe, re.IGNORECASE):
        safe = f"_{safe}"
    if safe == name and name:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe or '_'}-{digest}"


def inside(root: Path, name: str) -> Path:
    """The path of a file of this name, and surely within the folder."""
    path = root / sanitise(name)
    if not path.resolve().is_relative_to(root.resolve()):
        raise BitlensError(
            f"{path} leads out of {root}.",
            "files within the folder of results.",
            f"delete the link {path}.",
        )
    return path


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


def _read_json(path: Path, remedy: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, _why(error), remedy) from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _read_parquet(path: Path, schema: pa.Schema | None, remedy: str) -> pa.Table:
    try:
        with path.open("rb") as file:
            table = pq.read_table(file, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, _why(error), remedy) from error
    if schema is not None and not table.schema.equals(schema):
        raise _damaged(path, "its columns are not those of this version", remedy)
    return table


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is missing"
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def _damaged(path: Path, why: str, remedy: str) -> BitlensError:
    return BitlensError(f"{path} cannot be read: {why}.", "the file as bitlens wrote it.", remedy)


def _check_schema(path: Path, content: Any) -> None:
    found = content.get("schema") if isinstance(content, dict) else None
    if found != SCHEMA:
        raise BitlensError(
            f"{path} has schema {found!r}.",
            f"schema {SCHEMA}, which this version of bitlens writes and reads.",
            "the version of bitlens that wrote it, or another --out.",
        )
