"""Tables of a folder of results that hold records, a row each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from bitlens.errors import path_of
from bitlens.results.files.names import inside
from bitlens.results.files.writing import write
from bitlens.results.json_files import damaged, mended
from bitlens.results.parquet import read_table, rows_as_parquet

Record = TypeVar("Record")


def write_records(
    root: Path, name: str, records: Sequence[Any], schema: pa.Schema, vouching: Path
) -> None:
    """The table `name` of a folder; `vouching`, the file that says that all are complete, is gone
    from then on. BitlensError where it cannot be written."""
    write(inside(root, f"{name}.parquet"), rows_as_parquet(name, records, schema), vouching)


def read_records(
    root: Path, name: str, kind: type[Record], schema: pa.Schema, again: str
) -> list[Record]:
    """The records of a table. ResultsError for one that is not as it was written; `again`: what
    makes it anew."""
    path = inside(root, f"{name}.parquet")
    rows = read_table(path, schema, mended(path, again)).to_pylist()
    try:
        return TypeAdapter(list[kind]).validate_python(rows)  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{path_of([n for n in first['loc'] if isinstance(n, str | int)])}: {first['msg']}"
        raise damaged(path, why, mended(path, again)) from None
