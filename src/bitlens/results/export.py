"""The estimates of a store as one table: CSV for a spreadsheet, JSON, or Parquet."""

import csv
import io
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from bitlens.errors import InputError
from bitlens.registry import nearest
from bitlens.results.records import to_json
from bitlens.results.store import Store

Format = Literal["csv", "json", "parquet"]


def export(store: Store, file_format: Format, name: str = "estimates") -> bytes:
    """All rows of a table of the store, by default its estimates with the columns of
    `table_schema.ESTIMATES`; strict UTF-8 text.

    A number that does not exist is an empty cell in CSV and null in JSON, with its reason beside
    it. In CSV a text that a spreadsheet would take for a formula gets an apostrophe in front.
    InputError for another format.
    """
    if file_format not in get_args(Format):
        raise InputError(
            f"There is no format called {file_format!r}.",
            f"one of {', '.join(get_args(Format))}.",
            nearest(file_format, get_args(Format)) or "--format csv",
        )
    table = store.read_table(name)
    return {"csv": as_csv, "json": _json, "parquet": _parquet}[file_format](table)


def as_csv(table: pa.Table) -> bytes:
    """A flat table as CSV; texts that look like formulas are harmless."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table.column_names)
    for row in table.to_pylist():
        writer.writerow([harmless(cell) for cell in row.values()])
    return text.getvalue().encode()


def harmless(cell: str | float | None) -> str | float | None:
    """Spreadsheets run text that begins like a formula (OWASP, CSV injection); numbers do not."""
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{cell}"
    return cell


def _json(table: pa.Table) -> bytes:
    return (to_json(table.to_pylist(), indent=1) + "\n").encode()


def _parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()
