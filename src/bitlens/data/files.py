"""What text stands in a file? Exact decoding, or an error that says where it fails."""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bitlens.errors import BitlensError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HEAD = 8192
"""A NUL among a file's first bytes means binary: git's rule."""


class Document(NamedTuple):
    """A text that stands for itself: the unit of sampling."""

    name: str
    text: str


def read_bytes(path: Path) -> bytes:
    """Everything in the file, unpacked where its name ends in `.gz`."""
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as file:
                return file.read()
        return path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BitlensError(
            f"{path} cannot be unpacked: {error}.",
            "a whole gzip file.",
            f"gzip -t {path} checks it; fetch it again.",
        ) from error
    except OSError as error:
        raise BitlensError(
            f"{path} cannot be read: {error.strerror or error}.",
            "a file this user may read.",
            f"ls -l {path}",
        ) from error


def decode(data: bytes, path: Path) -> str:
    """UTF-8 bytes as text. A byte order mark is dropped and Windows line ends become `\\n`."""
    start = len(_BYTE_ORDER_MARK) if data.startswith(_BYTE_ORDER_MARK) else 0
    try:
        text = data[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        at = start + error.start
        raise BitlensError(
            f"{path} is not UTF-8: byte 0x{data[at]:02x} at offset {at}.",
            "UTF-8 text.",
            "iconv -f WINDOWS-1252 -t UTF-8 (or whatever its encoding is) converts it.",
        ) from error
    return text.replace("\r\n", "\n")


def read_running_text(path: Path) -> list[Document]:
    """The whole file as one text."""
    return [Document(path.name, decode(read_bytes(path), path))]


def read_folder(folder: Path) -> tuple[list[Document], list[str]]:
    """Every text file below a folder as one document, by relative path; and what was left out."""
    documents: list[Document] = []
    hidden: list[str] = []
    unreadable: list[str] = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file():
            continue
        if any(part.startswith(".") for part in relative.parts):
            hidden.append(relative.as_posix())
        elif (text := _text_or_none(path)) is None:
            unreadable.append(relative.as_posix())
        else:
            documents.append(Document(relative.as_posix(), text))
    notes = _left_out(hidden, "Hidden") + _left_out(unreadable, "Binary or unreadable")
    rows = [d.name for d in documents if d.name.lower().endswith((".json", ".jsonl"))]
    if rows:
        notes.append(
            f"JSON files read as plain text, one document each: {_examples(rows)}. Name such a "
            "file itself to read its rows as documents."
        )
    return documents, notes


def _text_or_none(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            return None if b"\0" in head else decode(head + file.read(), path)
    except (OSError, BitlensError):
        return None


def _left_out(names: Sequence[str], kind: str) -> list[str]:
    return [f"{kind} files left out: {_examples(names)}."] if names else []


def _examples(names: Sequence[str]) -> str:
    return f"{len(names):,} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
