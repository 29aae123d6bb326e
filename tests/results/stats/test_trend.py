"""Laws of a trend over models: Spearman's correlation, and how many orders are as extreme."""

import pytest
from scipy.stats import spearmanr

from bitlens.results.stats.trend import trend


def test_five_in_a_row_are_two_of_120_orders() -> None:
    """Rising and falling are the two as extreme: p = 2 / 120."""
    assert trend([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]) == pytest.approx((-1.0, 2 / 120))


def test_it_is_spearmans_correlation() -> None:
    """As scipy has it, ties among them."""
    sizes, values = [70, 160, 410, 410, 1400, 2800], [0.3, 0.1, 0.2, 0.2, 0.05, 0.01]
    found = trend(sizes, values)
    assert found is not None
    assert found[0] == pytest.approx(spearmanr(sizes, values).statistic)


def test_of_many_models_orders_are_drawn() -> None:
    """p is never 0, and that of no trend is large."""
    rising = trend(range(12), range(12))
    none = trend(range(12), [3, 9, 1, 8, 2, 11, 4, 7, 10, 0, 6, 5])
    assert rising == pytest.approx((1.0, 1 / 10_001))
    assert none is not None
    assert none[1] > 0.3


def test_too_few_or_alike_say_nothing() -> None:
    """Of four the rarest p is 2 / 24; of equal values there is no order."""
    assert trend([1, 2, 3, 4], [1, 2, 3, 4]) is None
    assert trend([1, 2, 3, 4, 5], [1, 1, 1, 1, 1]) is None
