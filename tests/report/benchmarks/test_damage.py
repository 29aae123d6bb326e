"""Inner damage beside what happens to answers, of numbers that are known."""

import pytest

from bitlens.report.benchmarks.damage import rank_correlation


def test_ranks_by_hand() -> None:
    """Ranks 1 2 3 4 beside 1 3 2 4: 1 - 6 * 2 / 60 = 0.8; fewer than three pairs, or a side that
    never differs, say nothing."""
    assert rank_correlation([0.1, 0.2, 0.3, 9.0], [1, 3, 2, 7]) == pytest.approx(0.8)
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 2, 3], [5, 5, 5]) is None
