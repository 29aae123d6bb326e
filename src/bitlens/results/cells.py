"""One complete cell of a study, in its folder: what it is of, its values, and what else it shows.

cells/ID/values.parquet   one row a value
cells/ID/NAME.parquet     a table of what the analysis shows besides
cells/ID/cell.json        what the cell is of; written last: its presence means it is complete
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from bitlens.errors import ResultsError
from bitlens.results.files.names import inside
from bitlens.results.files.writing import write
from bitlens.results.json_files import AGAIN, damaged, json_bytes, mended, read_json
from bitlens.results.manifest_schema import CellFile
from bitlens.results.parquet import as_parquet, check_table, read_table, rows_as_parquet
from bitlens.results.records import SCHEMA, Cell, Value
from bitlens.results.table_schema import SHOWN, VALUES

CELL = "cell.json"
NAME = re.compile(r"[0-9a-f]{16}")
"""The name of a cell's folder, and of one with the accumulators of a sweep."""


@dataclass(frozen=True)
class CellFolder:
    """The folder of one cell, whose name is the cell's id."""

    path: Path

    @classmethod
    def of(cls, root: Path, cell_id: str) -> "CellFolder":
        """A cell of the store at `root`. BitlensError for what is no cell's name."""
        if not NAME.fullmatch(cell_id):
            raise ResultsError(
                f"{cell_id!r} is not the name of a cell.",
                "sixteen hexadecimal digits, as the manifest lists them.",
                AGAIN,
            )
        return cls(inside(inside(root, "cells"), cell_id))

    def write(self, cell: Cell, values: Iterable[Value], tables: Mapping[str, pa.Table]) -> None:
        """Write the cell; it counts as complete from the last step on."""
        last = self.path / CELL
        content = {"schema": SCHEMA, **asdict(cell), "tables": sorted(tables)}
        write(self._values, rows_as_parquet("values", values, VALUES), last)
        for name, table in tables.items():
            write(self._table(name), as_parquet(name, table))
        write(last, json_bytes(CellFile, content, last))

    def read(self) -> tuple[Cell, list[Value]]:
        """The cell and its values, in the order in which they were written."""
        cell = _cell(self.content())
        rows = read_table(self._values, VALUES, mended(self._values, AGAIN)).to_pylist()
        return cell, [Value(**{**row, "replicates": tuple(row["replicates"])}) for row in rows]

    def read_table(self, name: str) -> pa.Table | None:
        """What else the analysis shows, by name; None where it shows nothing."""
        if name not in self.content()["tables"]:
            return None
        path = self._table(name)
        return read_table(path, SHOWN.get(name), mended(path, AGAIN))

    def content(self) -> dict[str, Any]:
        """`manifest_schema.CellFile` of a complete cell, which is what its name says."""
        path = self.path / CELL
        content = read_json(CellFile, path, mended(path, AGAIN))
        if _cell(content).id != self.path.name:
            raise damaged(path, "its settings are those of another cell", mended(path, AGAIN))
        return content

    def check(self, entry: Mapping[str, Any], manifest: str) -> None:
        """BitlensError unless every file of the cell is there, and is what it should be and what
        its entry in the file called `manifest` says."""
        content = self.content()
        for name in ("model", "compression", "analysis", "seed"):
            if content[name] != entry[name]:
                path = self.path / CELL
                raise damaged(path, f"{name} is not what {manifest} says", mended(path, AGAIN))
        check_table(self._values, VALUES, mended(self._values, AGAIN))
        for name in content["tables"]:
            check_table(self._table(name), SHOWN.get(name), mended(self._table(name), AGAIN))

    @property
    def _values(self) -> Path:
        return self.path / "values.parquet"

    def _table(self, name: str) -> Path:
        return inside(self.path, f"{name}.parquet")


def _cell(content: Mapping[str, Any]) -> Cell:
    return Cell(**{field.name: content[field.name] for field in fields(Cell)})
