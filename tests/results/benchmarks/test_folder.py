"""The folder of benchmarks: it holds what was written, and what does not belong together is
refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from bitlens.errors import ResultsError
from bitlens.results.benchmarks.estimates import estimate_rows
from bitlens.results.benchmarks.folder import NAME, read_benchmarks, write_benchmarks
from bitlens.results.parquet import rows_as_parquet
from bitlens.results.table_schema import ESTIMATES
from tests.support.benchmarks import CAST, TWIN, benchmarked


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """All of it, and the same content is the same bytes."""
    made = benchmarked(tmp_path / "a")
    write_benchmarks(made)
    write_benchmarks(replace(made, root=tmp_path / "b"))
    found = read_benchmarks(tmp_path / "a")
    for name in ("tasks", "outcomes", "depths", "changes"):
        assert getattr(found, name) == getattr(made, name)
        files = [(tmp_path / of / f"{name}.parquet").read_bytes() for of in "ab"]
        assert files[0] == files[1]
    assert found.twins("tiny", control=False) == [TWIN]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"outcomes": lambda f: [replace(f.outcomes[0], compression="x")]}, "was not asked"),
        ({"outcomes": lambda f: [replace(f.outcomes[0], metric="x")]}, "not asked for"),
        ({"depths": lambda f: [replace(f.depths[0], picks=(1,))]}, "has no outcome"),
        ({"changes": lambda f: [replace(f.changes[0], benchmark="x")]}, "there is a change"),
    ],
)
def test_tables_that_do_not_belong_together(wrong: dict, why: str, tmp_path: Path) -> None:
    """What somebody else wrote is looked at once, here."""
    made = benchmarked(tmp_path)
    write_benchmarks(replace(made, **{name: of(made) for name, of in wrong.items()}))
    with pytest.raises(ResultsError, match=why):
        read_benchmarks(tmp_path)


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    """It says what would write one."""
    with pytest.raises(ResultsError, match="bitlens bench MODEL"):
        read_benchmarks(tmp_path)
    write_benchmarks(benchmarked(tmp_path))
    (tmp_path / NAME).write_text("{}")
    with pytest.raises(ResultsError, match="is missing"):
        read_benchmarks(tmp_path)


def test_they_are_estimates_of_a_store_too(tmp_path: Path) -> None:
    """Of every twin five rows a benchmark that fit the table, with a value or a reason."""
    rows = list(estimate_rows(benchmarked(tmp_path), {("tiny", TWIN): 3.0}, seed=0))
    rows_as_parquet("estimates", rows, ESTIMATES)
    assert [row["compression"] for row in rows] == [TWIN] * 5 + [CAST] * 5
    by_metric = {row["metric"]: row for row in rows[:5]}
    assert by_metric["score_change"]["value"] == pytest.approx(-0.3)
    assert by_metric["flips"]["value"] == pytest.approx(0.3)
    assert by_metric["recovery"]["value"] == pytest.approx(0.45 / 0.75)
