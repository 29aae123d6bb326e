"""The rows of a benchmark's file: JSONL, JSON, CSV with a header, or Parquet."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bitlens.data.files import LARGEST, MOST_DOCUMENTS, read_lines, read_text, too_large
from bitlens.errors import DataError, told
from bitlens.results.files.reading import open_regular, parse_json

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet")
Row = dict[str, Any]


def read_rows(path: Path, columns: Iterable[str] = ()) -> list[Row]:
    """Every row, by column. BitlensError for a file that cannot be read, has no rows, or lacks one
    of these columns."""
    name = path.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz")):
        lines = enumerate(read_lines(path), 1)
        rows = [_row(line, f"line {n} of {path}") for n, line in lines if line.strip()]
    elif name.endswith(".json"):
        rows = _listed(path)
    elif name.endswith(".csv"):
        rows, _ = read_csv(path)
    elif name.endswith(".parquet"):
        rows = _of_parquet(path)
    else:
        raise DataError(
            f"{path} is of a kind that no benchmark is read from.",
            f"a file that ends in {', '.join(ENDINGS)}.",
            "convert it, or name another file.",
        )
    require_columns(rows, path, columns)
    return rows


def require_columns(rows: Sequence[Row], path: Path, columns: Iterable[str]) -> None:
    """DataError where there are no rows, or one lacks a column."""
    if not rows:
        raise DataError(f"{path} has no rows.", "a question a row.", "fetch it again.")
    for column in columns:
        lacking = next((n for n, row in enumerate(rows, 1) if row.get(column) is None), None)
        if lacking is not None:
            raise DataError(
                f"Row {lacking} of {path} has no {column}: it has "
                f"{', '.join(str(key) for key in rows[lacking - 1])}.",
                f"the columns {', '.join(columns)} in every row.",
                "the benchmark's own file; a CSV begins with a header row.",
            )


def read_csv(path: Path, *, mend: bool = False) -> tuple[list[Row], list[int]]:
    """The rows of a CSV with a header by column, and which of them, counted from 1, were mended.

    Where a field that held commas lost its quotes, its row has more columns than the header; with
    `mend` a piece that begins with a space belongs to the one before it, as in running text.
    DataError for rows of another number of columns."""
    text = io.StringIO(read_text(path), newline="")
    try:
        header, *lines = [line for line in csv.reader(text) if line] or [[]]
    except csv.Error as error:
        raise DataError(
            f"{path} cannot be read: {told(error)}.",
            f"a CSV with fields of at most {csv.field_size_limit():,} letters, quotes in pairs.",
            "mend it, or write it as JSONL.",
        ) from error
    rows, mended = [], []
    for number, line in enumerate(lines, 1):
        fields = line
        if mend and len(line) > len(header):
            fields = _joined(line)
            mended.append(number)
        if len(fields) != len(header):
            raise DataError(
                f"Row {number} of {path} has {len(line)} columns, and the header {len(header)}.",
                "a field a column, in quotes where it holds commas.",
                "mend that row, or fetch the file again.",
            )
        rows.append(dict(zip(header, fields, strict=True)))
    return rows, mended


def _joined(pieces: list[str]) -> list[str]:
    fields: list[str] = []
    for piece in pieces:
        if fields and piece.startswith(" "):
            fields[-1] += f",{piece}"
        else:
            fields.append(piece)
    return fields


def _row(line: str, place: str) -> Row:
    return _object(parse_json(line, place), place)


def _object(row: Any, place: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(
            f"{place} holds {row!r:.40}.", "an object of JSON, a question each.", "fetch it again."
        )
    return row


def _listed(path: Path) -> list[Row]:
    rows = parse_json(read_text(path), str(path))
    if not isinstance(rows, list):
        raise DataError(f"{path} holds no list.", "a list of objects.", "fetch it again.")
    return [_object(row, f"entry {n} of {path}") for n, row in enumerate(rows, 1)]


def _of_parquet(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_regular(path) as file:
            described = pq.ParquetFile(file)
            about = described.metadata
            groups = [about.row_group(n) for n in range(about.num_row_groups)]
            if sum(group.total_byte_size for group in groups) > LARGEST:
                raise too_large(str(path))
            # Equal texts stand in a file once: what they amount to shows as they are unpacked.
            rows: list[Row] = []
            size = 0
            for part in described.iter_batches(64):
                size += part.nbytes
                if size > LARGEST or len(rows) > MOST_DOCUMENTS:
                    raise too_large(str(path))
                rows += part.to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read: {told(error)}.", "a Parquet file.", "fetch it again."
        ) from error
    return rows
