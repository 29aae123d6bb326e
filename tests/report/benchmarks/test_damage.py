"""Inner damage beside what happens to answers, of numbers that are known."""

import pytest

from bitlens.report.benchmarks.damage import correlation_bounds, rank_correlation


def test_ranks_by_hand() -> None:
    """Ranks 1 2 3 4 beside 1 3 2 4: 1 - 6 * 2 / 60 = 0.8; fewer than three pairs, or a side that
    never differs, say nothing."""
    assert rank_correlation([0.1, 0.2, 0.3, 9.0], [1, 3, 2, 7]) == pytest.approx(0.8)
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 2, 3], [5, 5, 5]) is None


def test_bounds_by_hand() -> None:
    """Of 0.8 and 12 twins: atanh 1.0986 ± 1.96 * sqrt(1.32 / 9) = 0.7506, so 0.335 and 0.952; none
    of three twins, nor where the order is the same."""
    assert correlation_bounds(0.8, 12) == pytest.approx((0.335, 0.952), abs=5e-4)
    assert correlation_bounds(0.8, 3) is None
    assert correlation_bounds(1.0, 12) is None
