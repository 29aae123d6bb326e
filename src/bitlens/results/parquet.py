"""Reading and writing of a store's tables: what they say they are, and small enough to be read."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bitlens.errors import told
from bitlens.results.files.reading import open_regular
from bitlens.results.json_files import damaged

MOST_ROWS = 1 << 22
MOST_VALUES = 1 << 26
MOST_TEXT = 1 << 30
"""The most that a table may hold; text in bytes. A few equal rows written millions of times take a
few bytes on disk, and so does one long text."""


def rows_as_parquet(name: str, rows: Iterable[Any], schema: pa.Schema) -> bytes:
    """Dataclasses or dictionaries as a table with exactly these columns; ValueError for others."""
    records = [dict(row) if isinstance(row, Mapping) else dict(vars(row)) for row in rows]
    for record in records:
        if record.keys() != set(schema.names):
            raise ValueError(f"{name}: columns {sorted(record)}, expected {schema.names}")
    return as_parquet(name, pa.Table.from_pylist(records, schema=schema))


def as_parquet(name: str, table: pa.Table) -> bytes:
    """A table as it is written; ValueError for a number that is not finite."""
    for column in table.column_names:
        numbers = table[column]
        if pa.types.is_list(numbers.type):
            numbers = pc.list_flatten(numbers)
        if pa.types.is_floating(numbers.type) and pc.any(pc.invert(pc.is_finite(numbers))).as_py():
            raise ValueError(f"{name}: {column} holds a number that is not finite")
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def check_table(path: Path, schema: pa.Schema | None, remedy: str) -> None:
    """That a table has these columns, and no more rows than it can be read with; its rows are not
    read."""
    if not path.exists():
        raise damaged(path, "it is missing", remedy)
    try:
        with open_regular(path) as file:
            described = pq.ParquetFile(file)
            about, found = described.metadata, described.schema_arrow
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(path, told(error), remedy) from error
    groups = [about.row_group(n) for n in range(about.num_row_groups)]
    values = sum(g.column(n).num_values for g in groups for n in range(about.num_columns))
    if about.num_rows > MOST_ROWS or values > MOST_VALUES:
        raise damaged(path, f"it has {about.num_rows:,} rows, too many to be ours", remedy)
    for wanted in schema or ():
        if wanted.name not in found.names:
            raise damaged(path, f"column {wanted.name} is missing", remedy)
        there = found.field(wanted.name)
        if not there.equals(wanted):
            why = f"column {wanted.name} is {_kind(there)}, not {_kind(wanted)}"
            raise damaged(path, why, remedy)
    if schema is not None and found.names != schema.names:
        other = next((n for n in found.names if n not in schema.names), None)
        raise damaged(
            path, f"column {other} is not known" if other else "its columns are in disorder", remedy
        )


def read_table(path: Path, schema: pa.Schema | None, remedy: str) -> pa.Table:
    """A table with these columns, all of it. BitlensError that names what is wrong with it."""
    check_table(path, schema, remedy)
    try:
        with open_regular(path) as file:
            described = pq.ParquetFile(file)
            columns = map(described.schema.column, range(len(described.schema)))
            texts = [c.path for c in columns if c.physical_type == "BYTE_ARRAY"]
            # As dictionaries, equal texts stand in memory once: what they amount to is known
            # before they are written out. (`pq.read_table` does as much, and loads pandas first.)
            kept = pq.ParquetFile(file, read_dictionary=texts, page_checksum_verification=True)
            table = kept.read()
            size = sum(_text(column) for column in table.columns)
            if size > MOST_TEXT:
                raise damaged(path, f"its texts are {size:,} bytes, too many to be ours", remedy)
            return table.cast(described.schema_arrow)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(path, told(error), remedy) from error


def _text(column: pa.ChunkedArray) -> int:
    """Bytes of a column's texts where each stands for itself."""
    leaves = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    if not pa.types.is_dictionary(leaves.type):
        return 0
    lengths = (pc.binary_length(part.dictionary).take(part.indices) for part in leaves.chunks)
    return sum(pc.sum(of).as_py() or 0 for of in lengths)


def _kind(field: pa.Field) -> str:
    return f"{field.type}{' or nothing' if field.nullable else ''}"
