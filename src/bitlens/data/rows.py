"""Documents in lists and tables: most often one a row, but not in WikiText."""

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import pairwise
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from bitlens.data.categories import category_of
from bitlens.data.files import (
    LARGEST,
    MOST_DOCUMENTS,
    TEXT_ALONE,
    Document,
    RowFields,
    gathered,
    read_lines,
    read_text,
    too_large,
)
from bitlens.data.groups import in_group
from bitlens.errors import BitlensError, DataError, told
from bitlens.registry import nearest
from bitlens.results.files.reading import open_regular, parse_json

_COLUMN = "text"
_CHATS = ("messages", "conversations", "conversation", "chat")
_LARGEST_LIST = 1 << 28
"""Bytes; a list is in memory as a whole before its items are seen. Lines are not."""
_ROWS_A_PART = 4096

_TITLE = re.compile(r" = (?!= )(.*\S) = \n?")
"""A level-one heading of WikiText; ` = = Section = = ` is a lower one."""


def read_json(path: Path, fields: RowFields = TEXT_ALONE) -> list[Document]:
    """A JSON list of strings, or of objects with a `text`; or JSON lines under another name.
    DataError for another value, or a file that is too large."""
    try:
        value = parse_json(read_text(path, _LARGEST_LIST), str(path))
    except BitlensError as error:
        if isinstance(error.__cause__, JSONDecodeError) and error.__cause__.msg == "Extra data":
            # The first value is whole and another one follows: what `to_json` of datasets writes.
            return read_jsonl(path, fields)
        raise
    if not isinstance(value, list):
        found = _keys(value) if isinstance(value, dict) else _kind(value)
        raise DataError(
            f"{path} holds {found}.",
            'a list of strings, or of objects with a "text".',
            _list_within(value)
            or "wrap it in a list; one object a line belongs in a file called .jsonl.",
        )
    items = (_document(item, f"item {n}", str(path), fields) for n, item in enumerate(value, 1))
    return gathered(items, str(path))


def read_jsonl(path: Path, fields: RowFields = TEXT_ALONE) -> list[Document]:
    """JSON lines, each a string or an object with a `text`; empty lines are no rows."""
    lines = enumerate(read_lines(path), 1)
    documents = (
        _document(parse_json(line, f"{path}, line {n}"), f"line {n}", str(path), fields)
        for n, line in lines
        if line.strip()
    )
    return gathered(documents, str(path))


def read_parquet(path: Path, fields: RowFields = TEXT_ALONE) -> list[Document]:
    """The column `text` of a Parquet file, part by part, and that of categories. DataError where it
    cannot be read, has no such column, or is too large."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_regular(path) as opened:
        try:
            schema = pq.read_schema(opened)
            check_column(schema.names, _COLUMN, str(path))
            # As a dictionary, equal values stand in memory once: what they amount to is known
            # before they are written out.
            nested = pa.types.is_nested(schema.field(_COLUMN).type)
            file = pq.ParquetFile(opened, read_dictionary=None if nested else [_COLUMN])
            if file.metadata.num_rows > MOST_DOCUMENTS or _unpacked(file.metadata) > LARGEST:
                raise too_large(str(path))
            parts = file.iter_batches(_ROWS_A_PART, columns=[_COLUMN])
            found = from_column(_values(parts, str(path)), str(path))
            return _categorised(found, file, fields.category, str(path))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"{path} cannot be read as Parquet: {told(error)}.",
                "a whole Parquet file.",
                "it may be cut short or a Git LFS pointer: compare its size and fetch it again.",
            ) from error


def _categorised(found: list[Document], file: Any, field: str, source: str) -> list[Document]:
    """The documents with what a column of the file says of each; as they are where none is named
    or the file has none of that name."""
    if field not in file.schema_arrow.names:
        return found
    column = file.read(columns=[field]).column(0).to_pylist()
    return [
        document._replace(category=category_of({field: value}, field, f"{document.name}, {source}"))
        for document, value in zip(found, column, strict=True)
    ]


def _unpacked(metadata: Any) -> int:
    """Bytes of the column once it is unpacked."""
    groups = (metadata.row_group(n) for n in range(metadata.num_row_groups))
    chunks = (group.column(n) for group in groups for n in range(group.num_columns))
    return sum(c.total_uncompressed_size for c in chunks if c.path_in_schema == _COLUMN)


def _values(parts: Iterable[Any], source: str) -> Iterator[Any]:
    """The values of a column, or an error before they are more than a source may hold."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = 0
    for part in parts:
        column = part.column(0)
        if pa.types.is_dictionary(column.type):
            lengths = pc.binary_length(column.dictionary)
            size += pc.sum(lengths.take(column.indices)).as_py() or 0
            if size > LARGEST:
                raise too_large(source)
            column = column.dictionary.cast(pa.large_binary()).take(column.indices)
        yield from column.to_pylist()


def from_column(values: Iterable[Any], source: str) -> list[Document]:
    """A column's values as documents called `row 1`, `row 2`, ...; a missing value is empty, bytes
    are UTF-8."""
    return gathered((_row(n, value, source) for n, value in enumerate(values, 1)), source)


def _row(number: int, value: Any, source: str) -> Document:
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"Row {number} of {source} is not UTF-8: byte 0x{value[error.start]:02x} at "
                f"offset {error.start}.",
                "UTF-8 text.",
                "write the column again from the texts it was made of.",
            ) from error
    if value is not None and not isinstance(value, str):
        raise DataError(
            f"Row {number} of {source} is {_kind(value)}.",
            "a column of strings.",
            "name the column that holds the text.",
        )
    return Document(f"row {number}", value or "")


def check_column(columns: Sequence[str], wanted: str, source: str) -> None:
    """Is the column there? DataError, with those that are, where it is not."""
    if wanted not in columns:
        raise DataError(
            f"{source} has no column {wanted!r}.",
            f"one of its columns: {', '.join(columns)}.",
            _as_text(columns)
            or nearest(wanted, columns)
            or f"rename the one that holds the text to {wanted!r}.",
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


def _document(item: Any, place: str, source: str, fields: RowFields) -> Document:
    """A string, or what stands under `text`, nothing where that is null, or the messages of a chat;
    with its `label` and `marks` where it has a `group`."""
    if isinstance(item, str):
        return Document(place, item)
    if isinstance(item, dict):
        text, name = item.get(_COLUMN), item.get("name")
        chat = _messages(item, f"{place} of {source}") if fields.chats and text is None else ()
        if chat:
            text = "\n".join(content for _, content in chat)
        if isinstance(text, str) or (text is None and _COLUMN in item):
            document = Document(
                name if isinstance(name, str) and name else place,
                text or "",
                category=category_of(item, fields.category, f"{place} of {source}"),
                chat=chat,
            )
            return in_group(document, item, f"{place} of {source}")
        found = f'an object whose "text" is {_kind(text)}' if text else _keys(item)
    else:
        found = _kind(item)
    raise DataError(
        f"{place.capitalize()} of {source} is {found}.",
        'a string, or an object with a "text" that is a string.',
        _as_text(item) or 'call the field that holds the text "text".',
    )


def _messages(item: dict[str, Any], place: str) -> tuple[tuple[str, str], ...]:
    """Role and content of each message of a chat; nothing where the row holds none."""
    field = next((name for name in _CHATS if name in item), None)
    if field is None:
        return ()
    messages = item[field]
    for message in messages if isinstance(messages, list) else (messages,):
        if not (
            isinstance(message, dict)
            and isinstance(message.get("role"), str)
            and isinstance(message.get("content"), str)
        ):
            raise DataError(
                f"The {field} of {place} hold {message!r:.60}.",
                'a list of messages, each with a "role" and a "content" that are strings.',
                '"messages": [{"role": "user", "content": "..."}]',
            )
    return tuple((message["role"], message["content"]) for message in messages)


def _as_text(names: Any) -> str:
    """What to do with chats; empty where there are none. `names`: of the fields."""
    chat = next((name for name in _CHATS if isinstance(names, Container) and name in names), "")
    return chat and (
        "these are chats: with --chat-template those of JSON lines are read in the model's own "
        "template."
    )


def _list_within(value: Any) -> str:
    """What to do with an object that holds the list; empty where it holds none, or several."""
    items = value.items() if isinstance(value, dict) else ()
    lists = [key for key, held in items if isinstance(held, list)]
    return f"the list alone: jq .{lists[0]} FILE > NEW.json" if len(lists) == 1 else ""


def _keys(item: dict[str, Any]) -> str:
    return f"an object with the fields {', '.join(item) or '(none)'}"


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "null" if value is None else kinds.get(type(value), f"{value!r:.40}, a number")
