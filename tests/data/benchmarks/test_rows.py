"""Rows of benchmarks' files, of every kind, whole and damaged."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bitlens.data.benchmarks.rows import read_csv, read_rows
from bitlens.errors import BitlensError, DataError

ROWS = [{"question": "a, b?", "answer": "1"}, {"question": "c?", "answer": "2"}]


def written(path: Path) -> Path:
    """The rows as a file of the kind that its name says."""
    lines = "".join(f"{json.dumps(row)}\n" for row in ROWS)
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".jsonl":
        path.write_text(lines)
    elif path.suffix == ".json":
        path.write_text(json.dumps(ROWS))
    elif path.suffix == ".csv":
        path.write_text('question,answer\n"a, b?",1\nc?,2\n')
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("name", ["q.jsonl", "q.jsonl.gz", "q.json", "q.csv", "q.parquet"])
def test_every_kind_has_the_same_rows(name: str, tmp_path: Path) -> None:
    """By column, in order."""
    assert read_rows(written(tmp_path / name), ("question", "answer")) == ROWS


def test_a_file_that_unpacks_to_more_than_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal texts take nothing on disk."""
    path = tmp_path / "q.parquet"
    pq.write_table(pa.table({"question": ["long " * 200] * 5000}), path)
    monkeypatch.setattr("bitlens.data.benchmarks.rows.LARGEST", 100_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(BitlensError, match="holds more than"):
        read_rows(path)


def test_a_row_that_was_cut_at_commas_is_put_together(tmp_path: Path) -> None:
    """Pieces that begin with a space are running text: the row is mended where that is asked for,
    and told; else it is refused, and never read one column off."""
    path = tmp_path / "q.csv"
    path.write_text('question,A,B\nas true, false, and unknown"?,x,y\nplain,x,y\n')
    rows, mended = read_csv(path, mend=True)
    assert rows[0] == {"question": 'as true, false, and unknown"?', "A": "x", "B": "y"}
    assert mended == [1]
    with pytest.raises(DataError, match=r"Row 1 of .* has 5 columns, and the header 3"):
        read_rows(path)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("q.jsonl", "{", "line 1 of .* is not JSON"),
        ("q.jsonl", "\n\n[1]", "line 3 of .* holds"),
        ("q.csv", "a,b\n" + "x" * 140_000 + ",1", "field larger than field limit"),
        ("q.jsonl", "", "has no rows"),
        ("q.jsonl", '{"question": "a"}', "Row 1 of .* has no answer: it has question"),
        ("q.json", "{}", "holds no list"),
        ("q.parquet", "x", "cannot be read"),
        ("q.txt", "x", "of a kind that no benchmark is read from"),
    ],
)
def test_damaged_files_are_refused(name: str, content: str, why: str, tmp_path: Path) -> None:
    """With the row, and what was expected."""
    (tmp_path / name).write_text(content)
    with pytest.raises(BitlensError, match=why):
        read_rows(tmp_path / name, ("question", "answer"))
