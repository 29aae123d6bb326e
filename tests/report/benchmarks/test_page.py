"""The page of benchmarks, of outcomes that are known."""

from dataclasses import replace
from pathlib import Path

import pytest

from bitlens.report.benchmarks.page import build, page
from bitlens.report.benchmarks.sentences import told, verdict_of
from bitlens.report.page.parts import figures
from bitlens.results.benchmarks.changes import changes_of
from bitlens.results.benchmarks.folder import write_benchmarks
from bitlens.results.records import REFERENCE
from tests.support.benchmarks import CAST, TWIN, answered, benchmarked


def test_a_loss_is_the_finding(tmp_path: Path) -> None:
    """Twelve of forty lost and none gained: said first, with its interval, and the cast's floor of
    none; every twin's margin by block is drawn."""
    found = benchmarked(tmp_path)
    write_benchmarks(found)
    text = build(tmp_path).read_text().replace("<wbr>", "")
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


def test_a_finding_is_corrected_and_has_the_floor_beside_it(tmp_path: Path) -> None:
    """q and not p decides where there is one; what the cast does stands in the sentence."""
    found = benchmarked(tmp_path)
    change = found.change("tiny", TWIN, "quiz")
    assert verdict_of(replace(change, q=0.06)) == "undecided"
    assert "undecided: 40 questions, p = " in told(replace(change, q=0.06))
    (section,) = page(found).sections
    assert f"{CAST} by itself: 0 lost, 0 gained on quiz." in section.found.numbers


def test_a_depth_is_named_only_where_it_stands_alone(tmp_path: Path) -> None:
    """Twelve answers that differ are too few, twenty-four at one block are not; half of them at
    another block are a tie."""
    (section,) = page(benchmarked(tmp_path)).sections
    assert "at block" not in section.found.numbers
    found = benchmarked(tmp_path, lost=24, questions=60)
    (section,) = page(found).sections
    assert "more part from the reference's at block 1 than" in section.found.numbers
    depths = [
        replace(d, picks=(1, 1)) if d.compression == TWIN and d.doc < 12 else d
        for d in found.depths
    ]
    (section,) = page(replace(found, depths=depths)).sections
    assert "at block" not in section.found.numbers


def test_a_folder_of_several_models_has_a_section_each(tmp_path: Path) -> None:
    """As a study writes it; and one of none has a page too."""
    found = benchmarked(tmp_path)
    (about,) = found.about["models"]
    other = {**about, "name": "other"}
    several = replace(
        found,
        about={**found.about, "models": [about, other]},
        outcomes=[*found.outcomes, *(replace(o, model="other") for o in found.outcomes)],
        depths=[*found.depths, *(replace(d, model="other") for d in found.depths)],
        changes=[*found.changes, *(replace(c, model="other") for c in found.changes)],
    )
    assert len({section.anchor for section in page(several).sections}) == 2
    assert len({figure.name for figure in figures(page(several))}) == 2
    none = {**found.about, "models": []}
    assert page(replace(found, about=none, outcomes=[], depths=[], changes=[])).sections == ()


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
    change = replace(benchmarked(tmp_path).changes[0], low=low, high=high, p=p, q=None)
    assert verdict_of(change) == word


def test_of_many_blocks_only_those_are_shown_where_answers_part(tmp_path: Path) -> None:
    """Twelve answers part at block 1 of two: one column, of that block."""
    write_benchmarks(benchmarked(tmp_path))
    text = build(tmp_path).read_text()
    assert "from 1<" in text
    assert "from 0<" not in text


def test_a_reference_that_guesses_is_the_finding(tmp_path: Path) -> None:
    """Right in 12 of 40 where guessing gives 10: nothing to lose is said before any twin."""
    right = "A" * 12 + "B" * 28
    outcomes = answered(REFERENCE, "A" * 40, right) + answered(TWIN, "A" * 39 + "C", right)
    found = replace(benchmarked(tmp_path), outcomes=outcomes, depths=[])
    found = replace(found, changes=changes_of(found.tasks, outcomes))
    (section,) = page(found).sections
    assert section.found is not None
    assert section.found.text == (
        "The reference is not surely above guessing: a twin has nothing to lose"
    )
