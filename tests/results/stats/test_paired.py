"""Paired statistics: numbers worked by hand, exact enumeration and other implementations."""

from math import comb

import numpy as np
import pytest
from scipy import stats

from bitlens.results.stats.paired import (
    detectable,
    mcnemar,
    needed,
    paired_difference,
    recovered,
    share,
    structure,
)


def answers(both: int, lost: int, gained: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two models from their table of right and wrong."""
    counts = (both, lost, gained, neither)
    return np.repeat([1.0, 1, 0, 0], counts), np.repeat([1.0, 0, 1, 0], counts)


def test_mcnemar_by_hand() -> None:
    """8 lost and 2 gained: 2 (1 + 10 + 45) / 1024 = 0.109375; nothing flipped: 1."""
    assert mcnemar(8, 2) == pytest.approx(0.109375)
    assert mcnemar(0, 0) == 1.0


def test_a_difference_by_hand() -> None:
    """100 questions, 8 lost, 2 gained: -6 points; with half a question more in each cell
    -6 / 102 -+ 1.96 sqrt(11 - 36 / 102) / 102 = [-0.1215, 0.0039]."""
    found = paired_difference(*answers(50, 8, 2, 40))
    assert found.value == pytest.approx(-0.06)
    assert (found.low, found.high) == (
        pytest.approx(-0.12152, abs=1e-4),
        pytest.approx(0.00388, abs=1e-4),
    )


@pytest.mark.parametrize(("lost", "gained"), [(0.02, 0.02), (0.10, 0.04), (0.30, 0.10)])
def test_its_interval_covers(lost: float, gained: float) -> None:
    """Over every table of 40 questions, weighted by how likely it is, 95 % of intervals hold the
    true difference, to a point; summed exactly, without drawing."""
    n, truth, covered = 40, gained - lost, 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            p = (
                comb(n, b)
                * comb(n - b, c)
                * lost**b
                * gained**c
                * (1 - lost - gained) ** (n - b - c)
            )
            if p > 1e-9:
                found = paired_difference(*answers(n - b - c, b, c, 0))
                covered += p * (found.low <= truth <= found.high)
    assert covered > 0.94


def test_shares_have_students_interval() -> None:
    """Scores that are means over samples: scipy's paired t over questions."""
    draw = np.random.default_rng(0)
    first = draw.integers(0, 5, 30) / 4
    second = draw.integers(0, 5, 30) / 4
    by_scipy = stats.ttest_rel(second, first).confidence_interval(0.95)
    found = paired_difference(first, second)
    assert (found.low, found.high) == pytest.approx((by_scipy.low, by_scipy.high))


def test_few_questions_have_no_interval() -> None:
    """Nineteen are too few; twenty are enough."""
    assert paired_difference(*answers(10, 5, 0, 4)).low is None
    assert paired_difference(*answers(10, 5, 0, 5)).low is not None


def test_what_questions_show_by_hand() -> None:
    """412 questions of which a tenth flip show 2.8016 sqrt(0.1 / 412) = 4.36 points; to show 20
    points where a third flips takes 7.849 / 3 / 0.04 = 66."""
    assert detectable(412, 0.1) == pytest.approx(0.04365, abs=1e-5)
    assert needed(0.2, 1 / 3) == 66
    assert needed(-0.2, 0.05) == 40
    assert needed(1e-17, 0.05) is None


def test_what_questions_show_is_what_they_are_needed_for() -> None:
    """40 questions without a flip show 7.849 / 40 = 19.6 points and not 6.8, which would take 115;
    two questions show nothing below everything."""
    for n, rate in ((40, 1 / 42), (100, 1 / 102), (412, 0.1), (20, 0.6)):
        assert needed(detectable(n, rate), rate) == pytest.approx(n, abs=1)
    assert detectable(40, 1 / 42) == pytest.approx(0.19622, abs=1e-5)
    assert detectable(2, 0.5) == 1.0


def test_shares_that_differ_by_rounding_have_no_interval() -> None:
    """A spread of 1e-17 is no certainty."""
    first = np.full(40, 0.3)
    second = first + np.tile([0.0, 6e-17], 20)
    assert (first != second).any()
    assert paired_difference(first, second).low is None


@pytest.mark.slow
def test_so_many_questions_show_it_four_times_in_five() -> None:
    """McNemar's own simulated power at the number that is told."""
    lost, gained = 0.15, 0.05
    n = needed(lost - gained, lost + gained)
    draw = np.random.default_rng(0).multinomial(n, [lost, gained, 1 - lost - gained], 4000)
    # The exact test is a little stricter than the formula's.
    shown = np.mean([mcnemar(int(b), int(c)) < 0.05 for b, c, _ in draw])
    assert 0.70 < shown < 0.85


def test_a_share_has_wilsons_interval() -> None:
    """scipy's."""
    by_scipy = stats.binomtest(13, 40).proportion_ci(0.95, method="wilson")
    found = share(13, 40)
    assert (found.low, found.high) == pytest.approx((by_scipy.low, by_scipy.high))


def test_recovery_by_hand() -> None:
    """80 % and 60 % with a quarter by chance: 0.35 / 0.55 = 0.636; a reference at chance has
    none."""
    found = recovered(*answers(60, 20, 0, 20), 0.25)
    assert found.value == pytest.approx(0.35 / 0.55)
    assert found.low < 0.636 < found.high
    assert recovered(*answers(20, 10, 5, 65), 0.25) is None
    # Nothing flipped among 30: 1, and as unsure as 1.96 / 32 / 0.75 for all that.
    same = recovered(np.ones(30), np.ones(30), 0.25)
    assert (same.value, same.low) == (1.0, pytest.approx(1 - 1.95996 / 32 / 0.75, abs=1e-4))


def test_its_interval_is_that_of_drawn_questions() -> None:
    """The bootstrap's percentiles over questions."""
    first, second = answers(220, 60, 20, 100)
    draw = np.random.default_rng(0).integers(0, 400, (4000, 400))
    ratios = (second[draw].mean(1) - 0.25) / (first[draw].mean(1) - 0.25)
    found = recovered(first, second, 0.25)
    assert (found.low, found.high) == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.02)


def test_unequal_losses_are_tested() -> None:
    """All losses in one of two categories: scipy's permutation test says so too; of one category
    there is nothing to test, and equal losses are no structure."""
    category = np.repeat([0, 1], 20)
    moved = np.concatenate([np.repeat([-1.0, 0.0], [7, 13]), np.repeat([-1.0, 0.0], [1, 19])])

    def apart(first: np.ndarray, second: np.ndarray) -> float:
        return abs(first.mean() - second.mean())

    oracle = stats.permutation_test(
        (moved[:20], moved[20:]), apart, alternative="greater", n_resamples=9999, rng=1
    )
    assert structure(moved, category) == pytest.approx(oracle.pvalue, abs=0.01)
    assert structure(moved, np.zeros(40, int)) is None
    assert structure(np.zeros(40), category) == 1.0
