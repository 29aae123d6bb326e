"""Laws of reading plain text."""

import gzip
from pathlib import Path

import pytest

from bitlens.data import files
from bitlens.data.files import Document, decode, gathered, read_folder, read_lines
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
        list(read_lines(path))
    path.write_bytes(b"not gzip at all")
    with pytest.raises(BitlensError, match="cannot be unpacked"):
        list(read_lines(path))


@pytest.mark.slow
def test_a_packed_file_is_read_line_by_line(tmp_path: Path) -> None:
    """What unpacks to ten thousand times its size is refused in its first line, and one of many
    lines at the bound; neither is unpacked further."""
    path = tmp_path / "x.jsonl.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(9):
            file.write(bytes(b" " * (1 << 24)))
    with pytest.raises(BitlensError, match="a line of more than 67,108,864 bytes"):
        list(read_lines(path))


def test_a_source_may_hold_so_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of lines, characters of documents, and documents."""
    monkeypatch.setattr(files, "LARGEST", 100)
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'"123456789"\n' * 8)
    assert len(list(read_lines(path))) == 8
    path.write_bytes(b'"123456789"\n' * 9)
    with pytest.raises(BitlensError, match="more than 100 bytes of text"):
        list(read_lines(path))
    document = files.Document("a", "x" * 50)
    assert len(gathered([document] * 2, "here")) == 2
    with pytest.raises(BitlensError, match="here holds more"):
        gathered([document] * 3, "here")
    monkeypatch.setattr(files, "MOST_DOCUMENTS", 1)
    with pytest.raises(BitlensError, match="or 1 documents"):
        gathered([files.Document("a", "")] * 2, "here")


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_what_windows_writes_is_read(tmp_path: Path, name: str, encoding: str) -> None:
    """UTF-8 with a mark or without, UTF-16 with its mark in either order."""
    path, text = tmp_path / name, '"größer"\r\n"日本"'
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path.write_bytes((mark + text).encode(encoding))
    assert [line.rstrip("\n") for line in read_lines(path)] == ['"größer"', '"日本"']
    assert files.read_text(path) == '"größer"\n"日本"'


def test_a_nul_is_no_text(tmp_path: Path) -> None:
    """UTF-16 without its mark, or converted as something else, would be read as nonsense."""
    for data in ("text".encode("utf-16-le"), b"t\0e", b"\xff\xfe\0\0t\0\0\0", b'"a"\n"b\0"'):
        (tmp_path / "x.jsonl").write_bytes(data)
        with pytest.raises(BitlensError, match="holds a NUL") as caught:
            list(read_lines(tmp_path / "x.jsonl"))
        assert "iconv" in caught.value.remedy


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
    assert documents == [
        Document("a/z.txt", "first, naïve", category="a"),
        Document("b.md", "second"),
        Document("c.jsonl", '"row"'),
    ]
    assert notes[0] == "Hidden files left out: 2 (.git/config, a/.cache)."
    assert notes[1] == "Binary or unreadable files left out: 2 (image.png, latin.txt)."
    assert "c.jsonl" in notes[2]
