"""Answers by depth, of picks that are known."""

from dataclasses import replace

import pytest

from bitlens.results.benchmarks.by_depth import margins, partings
from bitlens.results.benchmarks.records import NO_PICK
from bitlens.results.records import REFERENCE
from tests.support.benchmarks import TWIN, by_depth


def test_an_answer_flips_where_it_stays_different() -> None:
    """From block 1 on; from block 2 on, an earlier difference that was undone left out; one that is
    the same in the end did not flip; one that never was the same flips at 0."""
    reference = by_depth(REFERENCE, [(0, 0, 0), (0, 0, 0), (0, 0, 0), (1, 1, 1)])
    twin = by_depth(TWIN, [(0, 1, 1), (1, 0, 2), (1, 1, 0), (0, 0, 0)])
    assert partings(reference, twin) == {1: 1, 2: 1, 0: 1}


def test_where_the_lens_gives_no_numbers_nothing_is_said() -> None:
    """A block without numbers has no margin, no row of the curve where no question has one, and
    an answer does not part there: it does at the next block that has them."""
    (one,) = by_depth(TWIN, [(NO_PICK, NO_PICK, 1)])
    lost = replace(one, margins=(None, None, -0.5))
    assert [at.block for at in margins([lost])] == [2]
    known = replace(one, margins=(None, 0.5, -0.5))
    assert [(at.block, at.value, at.questions) for at in margins([lost, known])] == [
        (1, 0.5, 1),
        (2, -0.5, 2),
    ]
    reference = by_depth(REFERENCE, [(0, 0, 0)])
    assert partings(reference, [lost]) == {2: 1}
    assert partings(reference, by_depth(TWIN, [(0, NO_PICK, 1)])) == {2: 1}


def test_margins_are_means_with_students_interval() -> None:
    """Twenty questions, half at 0.5 and half at -0.5: 0 -+ 2.093 sqrt(20 / 19) / 2 / sqrt(20); of
    nineteen there is no interval, of none no curve."""
    (found,) = margins(by_depth(TWIN, [(0,)] * 10 + [(1,)] * 10))
    assert (found.value, found.high) == (
        0.0,
        pytest.approx(2.09302 * 0.5 * (20 / 19) ** 0.5 / 20**0.5, abs=1e-4),
    )
    assert margins(by_depth(TWIN, [(0,)] * 19))[0].low is None
    assert margins([]) == []
