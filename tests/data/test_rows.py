"""Laws of lists and tables of texts."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bitlens.data import rows
from bitlens.data.files import Document
from bitlens.data.rows import join_lines, read_json, read_jsonl, read_parquet
from bitlens.errors import BitlensError

WIKI = [
    "",
    " = Robert = \n",
    "",
    " Robert acts . \n",
    " The value is \n",
    " = 3 k = \n",
    "",
    " = = Life = = \n",
    "",
    " He lives . \n",
    "",
    " = Du Fu = \n",
    "",
    " A poet . \n",
]


def _rows(texts: list[str]) -> list[Document]:
    return [Document(f"row {n}", text) for n, text in enumerate(texts, 1)]


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_json_list_of_strings_and_objects(tmp_path: Path) -> None:
    """Strings and objects with a text are documents, called by their name or their place."""
    path = tmp_path / "x.json"
    items = ["one", {"text": "two", "score": 1}, {"name": "third", "text": "three"}]
    assert read_json(_write(path, json.dumps(items))) == [
        Document("item 1", "one"),
        Document("item 2", "two"),
        Document("third", "three"),
    ]


def test_json_lines_end_at_newlines_only(tmp_path: Path) -> None:
    """A line separator of Unicode inside a string ends no line; empty lines are no rows."""
    path = _write(tmp_path / "x.jsonl", '"a\u2028b"\n\n{"text": "c\\nd"}\n')
    assert read_jsonl(path) == [Document("line 1", "a\u2028b"), Document("line 3", "c\nd")]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"data": ["a"], "version": 2}', "an object with the fields data, version"),
        ('"just one"', "a string"),
        ('["a", 3]', "Item 2 of .* is 3, a number"),
        ('["a", null]', "Item 2 of .* is null"),
        ('[{"content": "a", "id": 1}]', "Item 1 of .* is an object with the fields content, id"),
        ('[{"text": ["a"]}]', 'an object whose "text" is a list'),
        ('["a", "b"', "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("", "is not JSON"),
    ],
)
def test_json_of_another_shape_is_refused(tmp_path: Path, content: str, found: str) -> None:
    """The error says what stands where a text was expected."""
    with pytest.raises(BitlensError, match=found):
        read_json(_write(tmp_path / "x.json", content))


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_lines_are_read_under_either_name(tmp_path: Path, name: str) -> None:
    """Many libraries write JSON lines into a file called .json; a null text is an empty one."""
    path = _write(tmp_path / name, '{"text": "a"}\n{"text": null, "name": "n"}\n"c"\n')
    read = read_json if name == "x.json" else read_jsonl
    assert read(path) == [Document("line 1", "a"), Document("n", ""), Document("line 3", "c")]


def test_chats_are_called_chats(tmp_path: Path) -> None:
    """Neither renaming a field nor joining it would make of them what the model reads."""
    path = _write(tmp_path / "x.jsonl", '{"messages": [{"role": "user", "content": "a"}]}')
    with pytest.raises(BitlensError) as caught:
        read_jsonl(path)
    assert "--chat-template" in caught.value.remedy
    table = pa.table({"conversations": [["a"]], "id": [1]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(BitlensError) as caught:
        read_parquet(tmp_path / "x.parquet")
    assert "--chat-template" in caught.value.remedy


def test_the_list_within_an_object_is_named(tmp_path: Path) -> None:
    """Wrapping the object would not help."""
    with pytest.raises(BitlensError) as caught:
        read_json(_write(tmp_path / "x.json", '{"data": ["a"], "version": 2}'))
    assert caught.value.remedy == "the list alone: jq .data FILE > NEW.json"


def test_bad_json_line_is_named(tmp_path: Path) -> None:
    """A broken line is named by its number."""
    with pytest.raises(BitlensError, match=r"x\.jsonl, line 2 is not JSON"):
        read_jsonl(_write(tmp_path / "x.jsonl", '"a"\n{"text": "b\n"c"\n'))


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    """A row is a document, also where strings are stored as a dictionary; a null is empty."""
    path = tmp_path / "x.parquet"
    column = pa.array(["a", None, "a"]).dictionary_encode()
    pq.write_table(pa.table({"id": [1, 2, 3], "text": column}), path)
    assert read_parquet(path) == [
        Document("row 1", "a"),
        Document("row 2", ""),
        Document("row 3", "a"),
    ]


def test_parquet_without_the_column_lists_its_columns(tmp_path: Path) -> None:
    """The error lists the columns and guesses at the one meant."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"texts": ["a"], "id": [1]}), path)
    with pytest.raises(BitlensError) as caught:
        read_parquet(path)
    assert "texts, id" in caught.value.expected
    assert "Did you mean texts?" in caught.value.remedy


def test_parquet_of_bytes_is_read_as_utf8(tmp_path: Path) -> None:
    """In a column of bytes, or of strings that are none; the first bad byte is named."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": pa.array(["ü".encode(), None], pa.binary())}), path)
    assert read_parquet(path) == [Document("row 1", "ü"), Document("row 2", "")]
    pq.write_table(pa.table({"text": pa.array([b"a", b"b\xff"]).view(pa.string())}), path)
    with pytest.raises(BitlensError, match=r"Row 2 of .* is not UTF-8: byte 0xff at offset 1"):
        read_parquet(path)


def test_parquet_of_very_many_or_very_long_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own figures, or, where equal values are stored once, before they are written out."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["x" * 1000] * 2000}), path)
    assert path.stat().st_size < 5000
    assert len(read_parquet(path)) == 2000
    monkeypatch.setattr(rows, "LARGEST", 1_500_000)
    with pytest.raises(BitlensError, match="holds more than"):
        read_parquet(path)
    monkeypatch.setattr(rows, "MOST_DOCUMENTS", 1999)
    monkeypatch.setattr(rows, "_values", None)
    with pytest.raises(BitlensError, match="holds more than"):
        read_parquet(path)


def test_parquet_of_numbers_is_refused(tmp_path: Path) -> None:
    """A text column that holds no strings is no text."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": [1.5]}), path)
    with pytest.raises(BitlensError, match=r"Row 1 of .* is 1\.5, a number"):
        read_parquet(path)


@pytest.mark.parametrize("size", [0, 3, 200, -10])
def test_truncated_parquet_is_refused(tmp_path: Path, size: int) -> None:
    """A file cut short at either end gives an error, not a part of the rows."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": [str(n) for n in range(999)]}), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BitlensError, match="cannot be read as Parquet"):
        read_parquet(path)


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    """Damage between intact ends is noticed."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": [str(n) for n in range(999)]}), path)
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\xff" * 400 + data[404:])
    with pytest.raises(BitlensError, match="cannot be read as Parquet"):
        read_parquet(path)


def test_lines_of_wikitext_become_articles() -> None:
    """A lone level-one heading starts an article; sections and formulae do not; blanks stay."""
    articles = join_lines(_rows(WIKI))
    assert articles == [
        Document(
            "Robert",
            " = Robert = \n\n Robert acts . \n The value is \n = 3 k = \n\n = = Life = = \n\n"
            " He lives . \n",
        ),
        Document("Du Fu", " = Du Fu = \n\n A poet . \n"),
    ]


def test_lines_before_the_first_heading_are_kept() -> None:
    """A shard that begins within an article loses nothing."""
    articles = join_lines(_rows([" The end of it . \n", *WIKI]))
    assert articles is not None
    assert [name for name, *_ in articles] == ["before the first heading", "Robert", "Du Fu"]
    assert articles[0].text == " The end of it . \n"


@pytest.mark.parametrize(
    "texts",
    [
        ["a story", "another", ""],
        [" = Robert = \n", " Robert acts . \n"],
        ["", " = Robert = \n", "", " two\nlines \n"],
        ["", " = = Life = = \n", "", " He lives . \n"],
    ],
)
def test_other_rows_stay_documents(texts: list[str]) -> None:
    """Rows are joined only where they are certainly lines."""
    assert join_lines(_rows(texts)) is None
