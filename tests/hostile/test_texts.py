"""Files that are no texts, or not as they say."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.hostile import Case, Command, Place, Refused, case

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
DEEP = "[" * 100_000


def text(name: str, said: str, file: str, content: str | bytes) -> Case:
    return case(name, said, lambda place: place.of_text(file, content))


def table(name: str, said: str, columns: Callable[[], dict[str, Any]]) -> Case:
    def make(place: Place) -> Command:
        path = place.root / "t.parquet"
        pq.write_table(pa.table(columns()), path)
        return place.audit(text=path)

    return case(name, said, make)


def laid(name: str, said: str, lay: Callable[[Path], object], file: str = "t.jsonl") -> Case:
    """Something that is no file."""

    def make(place: Place) -> Command:
        path = place.root / file
        lay(path)
        return place.audit(text=path)

    return case(name, said, make)


def blanks(path: Path) -> None:
    """A gigabyte of blanks in a megabyte."""
    with gzip.open(path, "wb", 1) as file:
        for _ in range(64):
            file.write(bytes([32]) * (1 << 24))


CASES = [
    text("nothing", "document|empty|text", "t.txt", ""),
    text("blanks", "document|empty|text", "t.txt", " \n\n\t "),
    text("NULs", r"NUL|t\.txt", "t.txt", b"abc\0\0\0def" * 50),
    text("bytes that are no UTF-8", "UTF-8", "t.txt", b"caf\xe9 au lait " * 20),
    text(
        "UTF-16 that does not say so", "NUL|UTF", "t.txt", ("a cat sat " * 40).encode("utf-16-le")
    ),
    text("an unknown ending", "xyz", "t.xyz", "a cat sat " * 40),
    text("an archive called JSON lines", "t.jsonl", "t.jsonl", b"PK\x03\x04" + bytes(200)),
    text("a picture called text", "t.txt", "t.txt", b"\x89PNG\r\n\x1a\n" + bytes(300)),
    text("JSON cut short", "JSON", "t.json", '["a cat sat", "on'),
    text("JSON that is a number", "3, a number", "t.json", "3"),
    text("JSON that is null", "null", "t.json", "null"),
    text("JSON of numbers", "1, a number", "t.json", "[1, 2, 3]"),
    text("JSON of nulls", "null", "t.json", "[null, null]"),
    text("JSON of lists", "list", "t.json", '[["a"], ["b"]]'),
    text("JSON in an object", "data", "t.json", '{"data": ["a", "b"]}'),
    text("JSON lines called JSON, one broken", "t.json", "t.json", '{"text": "a b"}\n{"text": \n'),
    text("JSON 100,000 deep", "t.json", "t.json", DEEP),
    text("JSON lines 100,000 deep", "line 1", "t.jsonl", DEEP),
    text("a broken line", "line 2", "t.jsonl", '{"text": "a b c d"}\n{"text": \n'),
    text("lines without a text", "messages", "t.jsonl", '{"messages": [{"role": "user"}]}\n'),
    text("a text that is null", "document", "t.jsonl", '{"text": null}\n'),
    text("a text that is a number", "5", "t.jsonl", '{"text": 5}\n'),
    text(
        "half surrogates",
        "surrogate|UTF|character",
        "t.jsonl",
        '{"text": "\\ud800 cat sat on"}\n' * 3,
    ),
    text("lines of one letter", "document", "t.jsonl", '"a"\n"b"\n'),
    text("a pointer to a file elsewhere", "t.parquet", "t.parquet", POINTER),
    text("Parquet cut short", "Parquet|parquet", "t.parquet", b"PAR1" + bytes(100)),
    text("gz that is none", "t.jsonl.gz", "t.jsonl.gz", b"not gz at all"),
    text("gz cut short", "t.jsonl.gz", "t.jsonl.gz", gzip.compress(b'"a b c"\n' * 500)[:40]),
    table("no column of texts", "no column 'text'", lambda: {"txet": ["a cat sat on the mat"] * 9}),
    table("a column of numbers", "column|number", lambda: {"text": [1, 2, 3]}),
    table("a column of bytes", "not UTF-8", lambda: {"text": [b"\xff\xfe a cat"] * 5}),
    table(
        "strings that are no UTF-8",
        "UTF-8|utf",
        lambda: {"text": pa.array([b"\xff\xfe cat"] * 5).view(pa.string())},
    ),
    table("no rows", "document", lambda: {"text": pa.array([], pa.string())}),
    table(
        "rows of nulls",
        "null|document|missing",
        lambda: {"text": pa.array([None] * 5, pa.string())},
    ),
    laid("an empty folder", "t.jsonl|folder", Path.mkdir),
    laid("a link to itself", "t.jsonl", lambda path: path.symlink_to(path)),
    laid("a link to nothing", "t.jsonl", lambda path: path.symlink_to("nowhere.jsonl")),
    laid("a pipe that nobody fills", "t.jsonl", os.mkfifo),
    laid("zeros without end", "t.txt", lambda path: path.symlink_to("/dev/zero"), "t.txt"),
    laid("a gigabyte of blanks in a megabyte", "t.jsonl.gz|document|bytes", blanks, "t.jsonl.gz"),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_texts_are_refused(refused: Refused, case: Case) -> None:
    """With the file, and the line or the row where there is one."""
    refused(case)
