"""Laws of reading plain text."""

import gzip
from pathlib import Path

import pytest

from bitlens.data.files import decode, read_bytes, read_folder
from bitlens.errors import BitlensError


def test_byte_order_mark_and_windows_line_ends_go() -> None:
    """A byte order mark is no text, and a line ends in one way."""
    assert decode(b"\xef\xbb\xbfa\r\nb", Path("x")) == "a\nb"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_bad_byte_is_named_with_its_offset_in_the_file(mark: bytes) -> None:
    """Text that is not UTF-8 stops, saying which byte of which file."""
    with pytest.raises(BitlensError) as caught:
        decode(mark + b"caf\xe9 noir", Path("menu.txt"))
    assert "menu.txt" in caught.value.found
    assert f"0xe9 at offset {3 + len(mark)}" in caught.value.found


def test_truncated_gzip_is_an_error(tmp_path: Path) -> None:
    """Half an archive is refused, not read as far as it goes."""
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(b'"text %d"' % n for n in range(999)))[:-20])
    with pytest.raises(BitlensError, match="cannot be unpacked"):
        read_bytes(path)
    path.write_bytes(b"not gzip at all")
    with pytest.raises(BitlensError, match="cannot be unpacked"):
        read_bytes(path)


def test_folder_reads_text_by_relative_path_and_counts_the_rest(tmp_path: Path) -> None:
    """Each text file below a folder is a document; hidden and binary ones are counted."""
    for name, data in {
        "b.md": b"second",
        "a/z.txt": "first, naïve".encode(),
        "c.jsonl": b'"row"',
        ".git/config": b"hidden",
        "a/.cache": b"hidden too",
        "image.png": b"\x89PNG\0\0",
        "latin.txt": b"caf\xe9",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    documents, notes = read_folder(tmp_path)
    assert documents == [("a/z.txt", "first, naïve"), ("b.md", "second"), ("c.jsonl", '"row"')]
    assert notes[0] == "Hidden files left out: 2 (.git/config, a/.cache)."
    assert notes[1] == "Binary or unreadable files left out: 2 (image.png, latin.txt)."
    assert "c.jsonl" in notes[2]
