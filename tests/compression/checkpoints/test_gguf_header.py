"""Headers of GGUF files that promise more than there is."""

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from bitlens.compression.checkpoints.gguf_header import require_whole_header
from bitlens.errors import BitlensError


def header(tensors: int, fields: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, fields) + rest


def field(kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", 1) + b"x" + struct.pack("<I", kind) + value


@pytest.mark.parametrize(
    "data",
    [
        header(0, 1, field(9, struct.pack("<IQ", 4, 2**40))),
        header(0, 1, field(9, struct.pack("<IQ", 8, 2**40))),
        header(0, 1, field(9, struct.pack("<IQ", 9, 2**24 - 1))),
        header(0, 1, field(8, struct.pack("<Q", 2**63))),
        header(0, 2**60),
        header(2**60, 0),
        header(0, 1, field(9, struct.pack("<IQ", 9, 1) * 6 + bytes(99))),
        header(0, 1, field(77, bytes(99))),
        header(0, 3, field(4, bytes(4))),
    ],
    ids=["numbers", "texts", "arrays", "text", "fields", "tensors", "deep", "kind", "cut"],
)
def test_promises_without_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    """A hundred bytes that would take a trillion numbers, at once and in three parts."""
    (tmp_path / "a.gguf").write_bytes(data)
    with pytest.raises(BitlensError, match=r"a\.gguf cannot be read as GGUF"):
        require_whole_header(tmp_path / "a.gguf")


def test_a_whole_file_passes(tmp_path: Path) -> None:
    """With every kind of field; what is no GGUF file is the reader's to refuse."""
    path = tmp_path / "a.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_array("tokens", ["a", "bc", "日本"])
    writer.add_array("scores", [0.5, 1.5])
    writer.add_array("nested", [[1, 2], [3]])
    writer.add_bool("flag", True)
    writer.add_uint64("large", 2**40)
    writer.add_tensor("w", np.zeros((2, 3), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "nested" in GGUFReader(path).fields
    require_whole_header(path)
    path.write_bytes(b"something else")
    require_whole_header(path)
