"""Laws of reading texts from any source."""

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bitlens.data.files import Document
from bitlens.data.texts import documents_of, read_texts, require_source
from bitlens.errors import BitlensError

STORIES = ["Once upon a time.", "The end, naïve 日本."]


def _write_all(folder: Path) -> list[Path]:
    """The same two stories in every form that marks documents."""
    lines = "".join(json.dumps({"text": story}) + "\n" for story in STORIES)
    (folder / "x.json").write_text(json.dumps(STORIES))
    (folder / "x.JSONL").write_text(lines)
    (folder / "x.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pq.write_table(pa.table({"text": STORIES}), folder / "x.parquet")
    (folder / "files").mkdir()
    for n, story in enumerate(STORIES):
        (folder / "files" / f"{n}.txt").write_text(story)
    return [folder / name for name in ("x.json", "x.JSONL", "x.jsonl.gz", "x.parquet", "files")]


def test_every_form_gives_the_same_documents(tmp_path: Path) -> None:
    """What a document says does not depend on the file it came in."""
    for path in _write_all(tmp_path):
        texts = read_texts(path)
        assert [document.text for document in texts.documents] == STORIES, path
        assert (texts.marked, texts.name, texts.notes) == (True, path.name, ()), path
        assert read_texts(str(path)) == texts


def test_running_text_has_no_marks(tmp_path: Path) -> None:
    """A text file is one text that does not say where documents end."""
    path = tmp_path / "novel.txt"
    path.write_text("One.\n\nTwo.")
    texts = read_texts(path)
    assert texts.documents == (Document("novel.txt", "One.\n\nTwo."),)
    assert not texts.marked


def test_empty_documents_are_dropped_and_counted(tmp_path: Path) -> None:
    """No document goes without a word."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps(["a", "", " \n", "b"]))
    texts = read_texts(path)
    assert [name for name, *_ in texts.documents] == ["item 1", "item 4"]
    assert texts.notes == ("Empty documents dropped: 2.",)


@pytest.mark.parametrize(("name", "content"), [("x.json", "[]"), ("x.txt", " "), ("x.jsonl", "")])
def test_nothing_to_read_is_an_error(tmp_path: Path, name: str, content: str) -> None:
    """A source without text is refused."""
    (tmp_path / name).write_text(content)
    with pytest.raises(BitlensError, match="holds"):
        read_texts(tmp_path / name)


def test_folder_without_text_says_what_was_left_out(tmp_path: Path) -> None:
    """A folder of Parquet files is not mistaken for an empty one."""
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "part.parquet")
    with pytest.raises(BitlensError, match=r"holds no document\. Binary .*part\.parquet"):
        read_texts(tmp_path)


def test_misspelt_path_names_its_neighbour(tmp_path: Path) -> None:
    """A path that is nearly right gets the right one."""
    (tmp_path / "stories.json").write_text('["a"]')
    with pytest.raises(BitlensError, match="There is no") as caught:
        read_texts(tmp_path / "storys.json")
    assert caught.value.remedy == "Did you mean stories.json?"
    assert ".jsonl" in caught.value.expected


@pytest.mark.parametrize("source", ["no/such/folder.txt", "x" * 5000, "a\0b", "~nobody/x.txt"])
def test_impossible_paths_are_errors(source: str) -> None:
    """Nothing that can be typed ends in a traceback."""
    with pytest.raises(BitlensError, match="There is no"):
        read_texts(source)


def test_dataset_without_its_prefix_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub name alone is answered with the form that works."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BitlensError, match="hf:roneneldan/TinyStories"):
        read_texts("roneneldan/TinyStories")


@pytest.mark.parametrize("name", ["x.csv", "x.json.gz", "x", "x.bin"])
def test_unknown_ending_lists_the_known(tmp_path: Path, name: str) -> None:
    """A kind of file that is not read says which are."""
    (tmp_path / name).write_text("a,b")
    with pytest.raises(BitlensError, match=r"\.jsonl\.gz, \.parquet"):
        read_texts(tmp_path / name)


def test_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    """What is no file is not opened."""
    os.mkfifo(tmp_path / "x.txt")
    with pytest.raises(BitlensError, match="is a folder, a pipe or a device"):
        read_texts(tmp_path / "x.txt")


def test_half_a_character_is_refused_where_it_stands(tmp_path: Path) -> None:
    """A lone surrogate would fail in the tokenizer; it is found before."""
    path = tmp_path / "x.json"
    path.write_text('["fine", "bad \\ud83d"]')
    with pytest.raises(BitlensError, match=r"item 2 .*\\ud83d, at character 4"):
        read_texts(path)


def test_lines_of_wikitext_are_joined_and_it_is_said(tmp_path: Path) -> None:
    """Rows that are lines become articles, with a note."""
    path = tmp_path / "wiki.parquet"
    pq.write_table(pa.table({"text": ["", " = A = \n", "", " b \n", "", " = C = \n"]}), path)
    texts = read_texts(path)
    assert [name for name, *_ in texts.documents] == ["A", "C"]
    assert "6 rows are lines" in texts.notes[0]
    assert "2 articles" in texts.notes[0]


def test_real_texts(shared: Path) -> None:
    """WikiText-2's parts have 60 articles each, and nothing but line ends is lost."""
    for part in ("test", "validation"):
        path = shared / "texts" / f"wikitext2_raw_{part}.parquet"
        texts = read_texts(path)
        assert len(texts.documents) == 60
        rows = pq.read_table(path).column("text").to_pylist()
        assert "".join("".join(document.text.split()) for document in texts.documents) == "".join(
            "".join(row.split()) for row in rows
        )
    stories = read_texts(shared / "texts" / "tinystories_1000.json")
    assert len(stories.documents) == 1000
    assert stories.notes == ()


def test_strings_are_documents() -> None:
    """Called by a hash of them: other strings, or others joined to the same, have another name."""
    texts = documents_of(STORIES)
    assert [document.text for document in texts.documents] == STORIES
    assert texts.marked
    assert texts.name == documents_of(tuple(STORIES)).name
    assert len({documents_of(list(t)).name for t in (["a", "bc"], ["ab", "c"], ["abc"])}) == 3
    with pytest.raises(BitlensError, match="Text 1 is a dict"):
        documents_of(["a", {"text": "b"}])
    require_source(texts.name)
    with pytest.raises(BitlensError, match="were strings that somebody handed over"):
        read_texts(texts.name)
