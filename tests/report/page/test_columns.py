"""Columns of bytes hold what was measured, and compare as it did."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bitlens.report.page.columns import correlations, numbers, whole
from tests.support.page_columns import back


@given(st.floats(-1, 1), st.integers(50, 99))
def test_a_threshold_divides_as_the_numbers_do(r: float, line: int) -> None:
    """At every hundredth a step lies above it exactly where its number does."""
    (step,) = back(correlations([r]))
    assert (step > line * 100) == (r > line / 100)


def test_thresholds_themselves_do_not_survive() -> None:
    """0.58 is not above 0.58, whatever its product with ten thousand is rounded to."""
    lines = [line / 100 for line in range(50, 100)]
    assert list(back(correlations(lines))) == [100 * line for line in range(50, 100)]
    above = [math.nextafter(line, 1) for line in lines]
    assert list(back(correlations(above))) == [100 * line + 1 for line in range(50, 100)]


def test_small_and_large_numbers_take_more_room() -> None:
    """Three digits of each survive, in half the bytes where they can."""
    assert numbers([0.1, 3.0, None])["type"] == "float16"
    for values in ([1e-7, 0.5], [0.5, 123456.0]):
        column = numbers(values)
        assert column["type"] == "float32"
        assert np.allclose(back(column), values, rtol=1e-3)


def test_what_is_missing_is_told_from_zero() -> None:
    """None is no number: neither 0 nor one that a column may hold."""
    assert list(back(whole([0, None]))) == [0, -(2**15)]
    assert math.isnan(back(numbers([None]))[0])
    assert list(back(correlations([0.0, None]))) == [0, -(2**15)]
