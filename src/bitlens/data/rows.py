"""Which documents stand in a list or a table? Most often one a row, but not in WikiText."""

import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bitlens.data.files import Document, decode, read_bytes
from bitlens.errors import BitlensError
from bitlens.registry import nearest

_TITLE = re.compile(r" = (?!= )(.*\S) = \n?")
"""A level-one heading of WikiText; ` = = Section = = ` is a lower one."""


def read_json(path: Path) -> list[Document]:
    """A JSON list of strings, or of objects with a `text`."""
    value = _parse(decode(read_bytes(path), path), str(path))
    if not isinstance(value, list):
        found = _keys(value) if isinstance(value, dict) else _kind(value)
        raise BitlensError(
            f"{path} holds {found}.",
            'a list of strings, or of objects with a "text".',
            "wrap it in a list; one object a line belongs in a file called .jsonl.",
        )
    return [_document(item, f"item {n}", path) for n, item in enumerate(value, 1)]


def read_jsonl(path: Path) -> list[Document]:
    """JSON lines, each a string or an object with a `text`; empty lines are no rows."""
    lines = enumerate(decode(read_bytes(path), path).split("\n"), 1)
    return [
        _document(_parse(line, f"{path}, line {n}"), f"line {n}", path)
        for n, line in lines
        if line.strip()
    ]


def read_parquet(path: Path) -> list[Document]:
    """The column `text` of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        check_column(file.schema_arrow.names, "text", str(path))
        column = file.read(columns=["text"]).column("text")
    except (pa.ArrowException, OSError) as error:
        raise BitlensError(
            f"{path} cannot be read as Parquet: {error}.",
            "a whole Parquet file.",
            "it may be cut short or a Git LFS pointer: compare its size and fetch it again.",
        ) from error
    return from_column(column.to_pylist(), str(path))


def from_column(values: Iterable[Any], source: str) -> list[Document]:
    """A column's values as documents called `row 1`, `row 2`, ...; a missing value is empty."""
    documents = []
    for n, value in enumerate(values, 1):
        if value is not None and not isinstance(value, str):
            raise BitlensError(
                f"Row {n} of {source} is {_kind(value)}.",
                "a column of strings.",
                "name the column that holds the text.",
            )
        documents.append(Document(f"row {n}", value or ""))
    return documents


def check_column(columns: Sequence[str], wanted: str, source: str) -> None:
    """Is the column there? An error that lists those that are."""
    if wanted not in columns:
        raise BitlensError(
            f"{source} has no column {wanted!r}.",
            f"one of its columns: {', '.join(columns)}.",
            nearest(wanted, columns) or f"rename the one that holds the text to {wanted!r}.",
        )


def join_lines(documents: Sequence[Document]) -> list[Document] | None:
    """Are these rows the lines of articles, as in WikiText? The articles then, else None.

    They are when every row is a single line, some are empty, and a level-one heading stands
    between empty rows; formulae that look like headings do not stand alone. An empty row is an
    empty line. Lines before the first heading are an article of their own. (Merity et al. 2016,
    "Pointer Sentinel Mixture Models".)
    """
    texts = [document.text for document in documents]
    if any("\n" in text[:-1] for text in texts):
        return None
    blank = [not text.strip() for text in texts]
    around = [True, *blank, True]
    starts = [
        n for n, text in enumerate(texts) if _TITLE.fullmatch(text) and around[n] and around[n + 2]
    ]
    if not starts or not any(blank):
        return None
    articles = []
    for first, end in pairwise(sorted({0, *starts, len(texts)})):
        title = _TITLE.fullmatch(texts[first])
        name = title[1] if title else "before the first heading"
        lines = (text if text.endswith("\n") else text + "\n" for text in texts[first:end])
        articles.append(Document(name, "".join(lines).strip("\n") + "\n"))
    return [article for article in articles if article.text.strip()]


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BitlensError(
            f"{where} is not JSON: {error}.", "valid JSON.", "python -m json.tool FILE checks it."
        ) from error


def _document(item: Any, place: str, path: Path) -> Document:
    if isinstance(item, str):
        return Document(place, item)
    if isinstance(item, dict):
        text, name = item.get("text"), item.get("name")
        if isinstance(text, str):
            return Document(name if isinstance(name, str) and name else place, text)
        found = f'an object whose "text" is {_kind(text)}' if "text" in item else _keys(item)
    else:
        found = _kind(item)
    raise BitlensError(
        f"{place.capitalize()} of {path} is {found}.",
        'a string, or an object with a "text" that is a string.',
        'call the field that holds the text "text".',
    )


def _keys(item: dict[str, Any]) -> str:
    return f"an object with the fields {', '.join(item) or '(none)'}"


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "null" if value is None else kinds.get(type(value), f"{value!r:.40}, a number")
