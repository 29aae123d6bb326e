"""Check that a GGUF file holds what its header promises. Numbers of things are read before the
things: one that the file is too short for would keep a reader busy for ever, or fill the memory.

The header as ggml's `gguf.md` describes it: magic, version, how many tensors and fields; of each
field its name, type and value; of each tensor its name, shape, type and place.
"""

import struct
from pathlib import Path
from typing import BinaryIO

from bitlens.errors import ModelError
from bitlens.results.files.reading import open_regular, size_of

_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a number, by its type."""
_TEXT, _ARRAY = 8, 9
_MOST = 1 << 24
"""Fields, tensors, or items of an array; the largest vocabularies have 300,000."""
_DEEPEST = 4
"""Arrays within arrays."""


def require_whole_header(path: Path) -> None:
    """BitlensError where the header counts more than the file has bytes for, or more than is read;
    what is no GGUF file at all is left to the reader."""
    with open_regular(path) as file:
        header = file.read(24)
        if len(header) < 24 or header[:4] != b"GGUF":
            return
        order = "<" if struct.unpack("<I", header[4:8])[0] & 0xFFFF else ">"
        tensors, fields = struct.unpack(f"{order}QQ", header[8:])
        scan = _Scan(path, file, order)
        scan.require(tensors, 24)
        scan.require(fields, 12)
        for _ in range(fields):
            scan.text()
            scan.value(scan.number("I"), 0)


class _Scan:
    """A header on its way: values are passed over, not read."""

    def __init__(self, path: Path, file: BinaryIO, order: str) -> None:
        self._path, self._file, self._order = path, file, order
        self._size = size_of(file)

    def require(self, count: int, bytes_each: int) -> None:
        """So many things of at least so many bytes."""
        left = self._size - self._file.tell()
        if count > _MOST or count * bytes_each > left:
            raise ModelError(
                f"{self._path.name} cannot be read as GGUF: it promises {count:,} things where "
                f"{left:,} bytes are left.",
                f"a whole GGUF file, with no more than {_MOST:,} of anything.",
                "compare its size with the original's and fetch it again.",
            )

    def number(self, form: str) -> int:
        size = struct.calcsize(form)
        self.require(1, size)
        return int(struct.unpack(self._order + form, self._file.read(size))[0])

    def text(self) -> None:
        self._skip(self.number("Q"), 1)

    def value(self, kind: int, depth: int) -> None:
        if kind == _TEXT:
            self.text()
        elif kind == _ARRAY and depth < _DEEPEST:
            inner, count = self.number("I"), self.number("Q")
            if inner in _WIDTHS:
                self._skip(count, _WIDTHS[inner])
                return
            self.require(count, 8)
            for _ in range(count):
                self.value(inner, depth + 1)
        elif kind in _WIDTHS:
            self._skip(1, _WIDTHS[kind])
        else:
            raise ModelError(
                f"{self._path.name} cannot be read as GGUF: it has a field of type {kind}, {depth} "
                "arrays deep.",
                "the types of GGUF, 0 to 12.",
                "compare its size with the original's and fetch it again.",
            )

    def _skip(self, count: int, bytes_each: int) -> None:
        self.require(count, bytes_each)
        self._file.seek(count * bytes_each, 1)
