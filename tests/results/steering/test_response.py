"""Dose and response: slopes and multipliers by hand."""

import numpy as np
import pytest

from bitlens.results.steering.response import (
    MULTIPLIERS,
    NO_EFFECT,
    NOT_REACHED,
    Sampled,
    at,
    chance,
    estimate,
    needed,
)

DOSES = np.array(MULTIPLIERS)


def sampled(slopes: list[float]) -> Sampled:
    """Documents whose effect is a line through 1."""
    return Sampled.of(np.array([1 + slope * DOSES for slope in slopes]), np.arange(len(slopes)))


def test_slopes_by_hand() -> None:
    """Lines of slopes 2, 4 and -3: a mean of 1, and a third goes the wrong way."""
    found = sampled([2.0, 4.0, -3.0])
    assert found.slopes == pytest.approx([2, 4, -3])
    assert found.mean(found.slopes)[0] == pytest.approx(1)
    assert found.mean((found.slopes < 0).astype(float))[0] == pytest.approx(1 / 3)
    assert found.curve[0] == pytest.approx(1 + DOSES)


def test_slopes_are_numpy_s() -> None:
    """Of curves that are no lines: the least-squares fit of polyfit."""
    values = np.random.default_rng(0).normal(size=(5, len(DOSES)))
    found = Sampled.of(values, np.arange(5)).slopes
    assert found == pytest.approx(np.polyfit(DOSES, values.T, 1)[0])


def test_a_twin_that_answers_half_as_much_needs_twice_the_vector() -> None:
    """The reference rises by 3 at 1; a twin of slope 2 does so at 1.5, one of slope 1 never."""
    reference = sampled([3.0] * 4).curve
    dose, reason = needed(reference, sampled([2.0] * 4).curve)
    assert (dose[0], reason) == (pytest.approx(1.5), "")
    dose, reason = needed(reference, sampled([1.0] * 4).curve)
    assert np.isnan(dose).all()
    assert reason == NOT_REACHED
    assert needed(sampled([-1.0] * 4).curve, reference)[1] == NO_EFFECT
    assert at(sampled([2.0] * 4).curve, 1.5)[0] == pytest.approx(4)


def test_documents_are_the_unit() -> None:
    """An interval of the mean is Student's over documents; copies of each change nothing."""
    slopes = np.random.default_rng(1).normal(1, 1, 20)
    one = Sampled.of(np.array([s * DOSES for s in slopes]), np.arange(20))
    twice = Sampled.of(np.repeat(one.values, 2, axis=0), np.repeat(np.arange(20), 2))
    found = estimate(one.mean(one.slopes), 20)
    assert found.low is not None
    half = 2.093024 * np.std(slopes, ddof=1) / np.sqrt(20)
    assert found.value - found.low == pytest.approx(half, rel=1e-5)
    again = estimate(twice.mean(twice.slopes), 20)
    assert (again.low, again.high) == pytest.approx((found.low, found.high))


def test_chance_by_hand() -> None:
    """Slopes of 1, 2 and 3: a mean of 2, a spread of 1, and 95 % of such directions within
    4.303 sqrt(4/3) of it."""
    found = chance([1.0, 2.0, 3.0])
    assert (found.value, found.documents) == (2.0, 3)
    assert found.high == pytest.approx(2 + 4.968, abs=1e-3)
    assert found.low == pytest.approx(2 - 4.968, abs=1e-3)


def test_chance_of_what_is_not_finite_is_a_reason() -> None:
    """Where one random direction overflows, and never NaN."""
    found = chance([1.0, float("nan"), 3.0])
    assert (found.value, found.low, found.high) == (None, None, None)
    assert (found.documents, found.reason) == (3, "not finite")
