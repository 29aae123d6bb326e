"""Texts in files: exact decoding, or an error that says where it fails."""

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bitlens.errors import BitlensError, DataError, told
from bitlens.results.files.reading import open_regular, read_bytes, unreadable

LARGEST = 1 << 30
"""Bytes of text, unpacked, that a source may hold: some 250 million tokens."""
LONGEST_LINE = 1 << 26
"""Bytes of a document in a line."""
MOST_DOCUMENTS = 5_000_000
_HEAD = 8192
"""A NUL among a file's first bytes means binary: git's rule."""
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How UTF-16 begins, which PowerShell writes."""


Mark = int | tuple[int, int]
"""A place in a document: the number of one of its own tokens, from the end where negative, or a
span of characters, its end left out."""


class Document(NamedTuple):
    """A text that stands for itself, or with the others of its group: the unit of sampling."""

    name: str
    text: str
    group: str | None = None
    """Documents of one group stay together in a batch and in a shard; None: by itself."""
    label: str | None = None
    """Which side or class of its group it is: clean or corrupt, true or false."""
    marks: tuple[Mark, ...] = ()
    """Places that somebody will look at or intervene on, in an order of their own."""
    category: str | None = None
    """Of what kind it is, by a field that somebody named; None: nobody did, or it has none."""
    chat: tuple[tuple[str, str], ...] = ()
    """Role and content of each message, of a row that is a chat; the text is their contents."""


class RowFields(NamedTuple):
    """What is read of a row besides its text."""

    category: str = ""
    """The field that names its category; empty: none does."""
    chats: bool = False
    """Whether a row may be a chat, a list of messages."""


TEXT_ALONE = RowFields()


def read_text(path: Path, most: int = LARGEST) -> str:
    """The whole of a file of at most so many bytes."""
    return decode(read_bytes(path, most), path)


def read_lines(path: Path) -> Iterator[str]:
    """A file line by line, unpacked where its name ends in `.gz`; what is longer than a line or
    a source may be is refused as soon as that is seen."""
    with open_regular(path) as file, _unpacking(path):
        stream: BinaryIO = file
        if path.suffix.lower() == ".gz":
            stream = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
        first = stream.readline(LONGEST_LINE + 1)
        if first.startswith(_WIDE):
            yield from decode(first + stream.read(LARGEST), path).split("\n")
            return
        taken, line = 0, first.removeprefix(codecs.BOM_UTF8)
        while line:
            taken += len(line)
            if len(line) > LONGEST_LINE:
                raise DataError(
                    f"{path} has a line of more than {LONGEST_LINE:,} bytes.",
                    "a document a line, of a size that a model reads.",
                    "look at it with: head -c 1000 (after gzip -dc, if it is packed).",
                )
            if taken > LARGEST:
                raise too_large(str(path))
            yield decode(line, path)
            line = stream.readline(LONGEST_LINE + 1)


@contextmanager
def _unpacking(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} cannot be unpacked: {told(error)}.",
            "a whole gzip file.",
            f"gzip -t {path} checks it; fetch it again.",
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


def decode(data: bytes, path: Path) -> str:
    """UTF-8 bytes as text, or UTF-16 ones that begin with its mark. Byte order marks are dropped
    and Windows line ends become `\\n`. DataError where they are neither."""
    wide = data.startswith(_WIDE)
    if b"\0" in data and not (wide and "\0" not in data.decode("utf-16", "replace")):
        raise DataError(
            f"{path} holds a NUL, at byte {data.index(0)}: no text does.",
            "UTF-8 text.",
            "if every second byte is one, it was UTF-16: iconv -f UTF-16LE -t UTF-8 converts what "
            "it was made from.",
        )
    start = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    try:
        text = data.decode("utf-16") if wide else data[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        at = start + error.start
        raise DataError(
            f"{path} is not UTF-{16 if wide else 8}: byte 0x{data[at]:02x} at offset {at}.",
            "UTF-8 text.",
            "iconv -f WINDOWS-1252 -t UTF-8 (or whatever its encoding is) converts it.",
        ) from error
    return text.replace("\r\n", "\n")


def gathered(documents: Iterable[Document], source: str) -> list[Document]:
    """All of them, unless they are more than a source may hold."""
    found: list[Document] = []
    size = 0
    for document in documents:
        size += len(document.text)
        if size > LARGEST or len(found) == MOST_DOCUMENTS:
            raise too_large(source)
        found.append(document)
    return found


def too_large(source: str) -> BitlensError:
    """What is said of a source that holds more than is read."""
    return DataError(
        f"{source} holds more than {LARGEST:,} bytes of text, or {MOST_DOCUMENTS:,} documents.",
        "no more than that: a budget of tokens takes a small part of it.",
        "a part of it, drawn at random; of lines, shuf -n 100000 FILE draws one.",
    )


def read_running_text(path: Path) -> list[Document]:
    """The whole file as one text."""
    return [Document(path.name, read_text(path))]


def read_folder(folder: Path) -> tuple[list[Document], list[str]]:
    """Every text file below a folder as one document, by relative path; and what was left out."""
    hidden: list[str] = []
    unreadable: list[str] = []

    def documents() -> Iterator[Document]:
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if not path.is_file():
                continue
            if any(part.startswith(".") for part in relative.parts):
                hidden.append(relative.as_posix())
            elif (text := _text_or_none(path)) is None:
                unreadable.append(relative.as_posix())
            else:
                folder_of = relative.parts[0] if len(relative.parts) > 1 else None
                yield Document(relative.as_posix(), text, category=folder_of)

    found = gathered(documents(), str(folder))
    notes = _left_out(hidden, "Hidden") + _left_out(unreadable, "Binary or unreadable")
    rows = [d.name for d in found if d.name.lower().endswith((".json", ".jsonl"))]
    if rows:
        notes.append(
            f"JSON files read as plain text, one document each: {_examples(rows)}. Name such a "
            "file itself to read its rows as documents."
        )
    return found, notes


def _text_or_none(path: Path) -> str | None:
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD)
            if b"\0" in head and not head.startswith(_WIDE):
                return None
        return read_text(path)
    except (OSError, BitlensError):
        return None


def _left_out(names: Sequence[str], kind: str) -> list[str]:
    return [f"{kind} files left out: {_examples(names)}."] if names else []


def _examples(names: Sequence[str]) -> str:
    return f"{len(names):,} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
