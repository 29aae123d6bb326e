"""What a twin changed in a benchmark, of answers that are known."""

from dataclasses import replace

import pytest

from bitlens.errors import ResultsError
from bitlens.results.benchmarks.changes import category_losses, changes_of, quarters
from bitlens.results.records import REFERENCE
from tests.support.benchmarks import TWIN, answered, task

TARGETS = "A" * 40
BEFORE = "A" * 20 + "B" * 20
AFTER = "B" * 4 + "A" * 17 + "C" * 3 + "B" * 16
"""Of the right ones four lost; of the wrong ones one gained, three with another wrong answer."""


def test_flips_are_counted_both_ways() -> None:
    """Four lost, one gained, three wrong both times with another letter, eight changed in all; no
    sum of flips hides the others."""
    (found,) = changes_of(
        [task()], [*answered(REFERENCE, BEFORE, TARGETS), *answered(TWIN, AFTER, TARGETS)]
    )
    assert (found.lost, found.gained, found.changed_wrong, found.changed) == (4, 1, 3, 8)
    assert found.difference == pytest.approx(-3 / 40)
    assert found.p == pytest.approx(2 * (1 + 5) / 32)
    assert found.recovery == pytest.approx((17 / 40 - 0.25) / 0.25)


def test_a_reference_at_chance_has_nothing_to_recover() -> None:
    """Ten of forty right: the reason stands in the place of a number."""
    before = "A" * 10 + "B" * 30
    (found,) = changes_of(
        [task()], [*answered(REFERENCE, before, TARGETS), *answered(TWIN, AFTER, TARGETS)]
    )
    assert found.recovery is None
    assert "not surely above chance, 25 %" in found.reason


def test_samples_of_a_question_are_one_unit() -> None:
    """Every answer given twice: as many questions, the same difference, flips and interval."""
    once = [*answered(REFERENCE, BEFORE, TARGETS), *answered(TWIN, AFTER, TARGETS)]
    twice = [*once, *(replace(one, sample=1) for one in once)]
    assert changes_of([task()], twice) == changes_of([task()], once)


def test_what_is_spoken_of_is_corrected_together() -> None:
    """Three twins with p of 2 / 2**6, 2 / 2**8 and 1: q by Benjamini and Hochberg; a control is
    tested by itself."""
    right = "A" * 40
    lost = {"rtn:bits=3": 6, TWIN + ",group=64": 8, "rtn:bits=4": 0, "cast:dtype=float16": 6}
    outcomes = answered(REFERENCE, right, right)
    for name, n in lost.items():
        outcomes += answered(name, "B" * n + "A" * (40 - n), right)
    found = changes_of([task()], outcomes, {"cast:dtype=float16"})
    p = [2 / 64, 2 / 256]
    assert [one.q for one in found] == [
        pytest.approx(p[0] * 3 / 2),
        pytest.approx(p[1] * 3),
        1.0,
        None,
    ]


def test_other_prompts_are_no_pair() -> None:
    """Models that were asked something else are not compared."""
    other = [replace(one, prompt_hash="x") for one in answered(TWIN, AFTER, TARGETS)]
    with pytest.raises(ResultsError, match="not asked the same"):
        changes_of([task()], [*answered(REFERENCE, BEFORE, TARGETS), *other])


def test_answers_change_where_the_reference_was_unsure() -> None:
    """Leads are the questions' numbers: the four lost are in the first quarter of ten, the others
    in the third."""
    found = quarters(answered(REFERENCE, BEFORE, TARGETS), answered(TWIN, AFTER, TARGETS), "acc")
    assert [(q.questions, q.changed, q.flipped) for q in found] == [
        (10, 4, 4),
        (10, 0, 0),
        (10, 4, 1),
        (10, 0, 0),
    ]


def test_the_structure_of_loss_is_tested() -> None:
    """All losses in code, none in knowledge: the categories with their means, and a small p."""
    tasks = [task("code", category="code"), task("facts")]
    right, half = "A" * 40, "B" * 16 + "A" * 24
    outcomes = [
        *answered(REFERENCE, right, right, "code"),
        *answered(TWIN, half, right, "code"),
        *answered(REFERENCE, right, right, "facts"),
        *answered(TWIN, right, right, "facts"),
    ]
    (found,) = category_losses(tasks, outcomes)
    assert found.categories == (("code", 40, pytest.approx(-0.4)), ("knowledge", 40, 0.0))
    assert found.p < 0.001
