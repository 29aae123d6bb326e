"""Intervals over pairs of SAEs: the textbook's, and reasons where there is none."""

import numpy as np
import pytest
from scipy import stats

from bitlens.sae.alignment.over_pairs import mean, normalised

APART = [frozenset({f"a{n}", f"b{n}"}) for n in range(5)]


def test_the_interval_is_the_textbook_one() -> None:
    """Mean -+ t times the standard error, by scipy."""
    values = [0.3, 0.5, 0.35, 0.62, 0.41]
    found = mean(values, APART)
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert (found.pairs, found.reason) == (5, None)


def test_two_pairs_by_hand() -> None:
    """0.4 and 0.6: 0.5, standard error 0.1, t(1) = 12.706."""
    found = mean([0.4, 0.6], APART[:2])
    assert found.high == pytest.approx(0.5 + 1.2706, abs=1e-4)


def test_normalised_by_hand() -> None:
    """Means 0.5, 0.1 and 0.9: half way. Without a pair 0.45 / 0.8 and 0.35 / 0.8."""
    found = normalised(np.array([[0.4, 0.6], [0.1, 0.1], [0.9, 0.9]]), APART[:2])
    assert found.value == pytest.approx(0.5)
    half = stats.t.ppf(0.975, 1) * np.sqrt(np.var([0.375, 0.625]))
    assert found.high == pytest.approx(0.5 + half)


def test_one_pair_has_a_reason() -> None:
    """And its value."""
    for found in (mean([0.4], APART[:1]), normalised(np.array([[0.4], [0], [1]]), APART[:1])):
        assert found.value == pytest.approx(0.4)
        assert found.low is found.high is None
        assert "1 pair; it takes SAEs trained from at least 2 seeds" in str(found.reason)


def test_pairs_that_share_an_sae_have_a_reason() -> None:
    """One first against two seconds is one seed, not two."""
    found = mean([0.4, 0.6], [frozenset("ab"), frozenset("ac")])
    assert found.value == 0.5
    assert found.low is None
    assert "more than one" in str(found.reason)


@pytest.mark.parametrize("ceiling", [0.1, 0.05, 0.1 + 1e-9])
def test_a_ceiling_at_chance_has_a_reason(ceiling: float) -> None:
    """Nothing can be said between two numbers that are the same."""
    found = normalised(np.array([[0.4] * 3, [0.1] * 3, [ceiling] * 3]), APART[:3])
    assert found.value is None
    assert found.reason == "the ceiling is not above chance"


def test_a_ceiling_that_hangs_on_one_pair_has_no_interval() -> None:
    """Without that pair there is nothing to divide by."""
    found = normalised(np.array([[0.4, 0.4], [0.1, 0.1], [0.9, 0.1]]), APART[:2])
    assert found.value is not None
    assert found.low is None
    assert "without one" in str(found.reason)


def test_pairs_are_the_unit() -> None:
    """Nominal 95 % covers that of 4 seeds' mean, whose latents are many and alike."""
    draw = np.random.default_rng(0)
    held = 0
    for values in draw.normal(0.5, 0.1, (1000, 4)):
        found = mean(values.tolist(), APART[:4])
        held += found.low <= 0.5 <= found.high  # type: ignore[operator]
    assert 930 <= held <= 970
