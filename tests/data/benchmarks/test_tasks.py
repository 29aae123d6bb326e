"""The benchmarks that bitlens defines: over which files, and what is said where they are not
there."""

from pathlib import Path

import pytest

from bitlens.data.benchmarks import mmlu
from bitlens.data.benchmarks.asked import AskedBenchmark
from bitlens.data.benchmarks.tasks import BENCHMARKS, category_of
from bitlens.errors import BitlensError


def test_a_name_and_where_it_lies() -> None:
    """Only the first sign of equality parts them."""
    assert AskedBenchmark.parse("mmlu_cs=a=b") == AskedBenchmark("mmlu_cs", "a=b")
    assert AskedBenchmark.parse("arc_easy") == AskedBenchmark("arc_easy")
    for text in ("", "=x", "mmlu_cs="):
        with pytest.raises(BitlensError, match="mmlu_cs=FOLDER"):
            AskedBenchmark.parse(text)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_without_a_file_the_one_that_is_wanted_is_named(name: str, tmp_path: Path) -> None:
    """And what to type."""
    for asked in (AskedBenchmark(name), AskedBenchmark(name, str(tmp_path / "absent"))):
        with pytest.raises(BitlensError, match=f"--benchmarks {name}=") as error:
            BENCHMARKS[name].tasks(asked)
        assert BENCHMARKS[name].wanted.split(",")[0] in str(error.value)


def test_mmlu_reads_digits_and_letters(tmp_path: Path) -> None:
    """0 to 3 and A to D are the same four; anything else is refused, and so is a folder that lacks
    a subject."""
    for subject in mmlu.SUBJECTS:
        text = "question,A,B,C,D,answer\nWhat?,a,b,c,d,2\nWhy?,a,b,c,d,B\n"
        (tmp_path / mmlu.file_name(subject)).write_text(text)
    tasks = mmlu.define(tmp_path)
    assert [row["answer"] for row in tasks[0]["rows"]] == [2, 1]
    assert tasks[0]["task"] == "mmlu_college_computer_science"
    (tmp_path / mmlu.file_name(mmlu.SUBJECTS[1])).write_text(text.replace("B\n", "5\n"))
    with pytest.raises(BitlensError, match="is '5'"):
        mmlu.define(tmp_path)
    (tmp_path / mmlu.file_name(mmlu.SUBJECTS[0])).unlink()
    with pytest.raises(BitlensError, match="has no college_computer_science_test"):
        mmlu.define(tmp_path)


def test_categories_of_names() -> None:
    """Ours, the harness' and what says nothing."""
    names = ("humaneval", "gsm8k", "mmlu_cs", "lambada_openai", "quiz")
    found = [category_of(name) for name in names]
    assert found == ["code", "math", "knowledge", "language", "other"]
