"""The page of benchmarks, of outcomes that are known."""

from dataclasses import replace
from pathlib import Path

import pytest

from bitlens.report.benchmarks.page import build, page
from bitlens.report.benchmarks.sentences import told, verdict_of
from bitlens.report.page.parts import figures
from bitlens.results.benchmarks.folder import write_benchmarks
from tests.support.benchmarks import CAST, TWIN, benchmarked


def test_a_loss_is_the_finding(tmp_path: Path) -> None:
    """Twelve of forty lost and none gained: said first, with its interval, and the cast's floor of
    none; every twin's margin by block is drawn."""
    found = benchmarked(tmp_path)
    write_benchmarks(found)
    text = build(tmp_path).read_text()
    assert "Compression costs right answers on quiz" in text
    assert f"{CAST} changes 0 of 40 answers and flips 0 by itself" in text
    (section,) = page(found).sections
    assert section.found.numbers.startswith(f"{TWIN} loses 30 points [14, 43] on quiz (12 lost, 0")
    (figure,) = figures(page(found))
    assert {p["who"] for p in figure.strips[0].panels[0].points if "who" in p} == {
        "reference",
        TWIN,
    }


def test_few_questions_have_no_verdict(tmp_path: Path) -> None:
    """Ten questions, 100 % against 80 %: no word of a loss, but how many it would take."""
    found = benchmarked(tmp_path, lost=2, questions=10)
    change = found.change("tiny", TWIN, "quiz")
    assert verdict_of(change) == "undecided"
    assert "10 questions cannot tell 100 % from 80 %, it takes at least 50" in told(change)
    shown = found.change("tiny", CAST, "quiz")
    assert "10 questions would not show less than" in told(shown)


@pytest.mark.parametrize(("low", "high", "p", "word"), [
    (-0.1, -0.01, 0.04, "loses"),
    (-0.1, -0.01, 0.06, "undecided"),
    (-0.1, 0.01, 0.04, "undecided"),
    (0.01, 0.1, 0.04, "gains"),
    (None, None, 0.0, "undecided"),
])  # fmt: skip
def test_a_verdict_needs_interval_and_test(
    low: float | None, high: float | None, p: float, word: str, tmp_path: Path
) -> None:
    """Both must say it."""
    change = replace(benchmarked(tmp_path).changes[0], low=low, high=high, p=p)
    assert verdict_of(change) == word
