"""Means over all pairs of seeds, and how sure they are."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import t

from bitlens.sae.alignment.over_seeds import mean, normalised, ratio, ratio_normalised

PAIRS = {(0, 1): 1.0, (1, 0): 3.0, (0, 2): 2.0, (2, 0): 4.0, (1, 2): 6.0, (2, 1): 8.0}


def test_a_mean_by_hand() -> None:
    """Of six numbers 4; without seed 0 the last two are left, 7, without 1 two of 3, without 2 two
    of 2. The jackknife's squared error is 2 / 3 of the squared deviations from their mean, 4:
    (9 + 1 + 4) 2 / 3, and t has two degrees of freedom."""
    found = mean(PAIRS)
    half = t.ppf(0.975, 2) * (14 * 2 / 3) ** 0.5
    assert (found.value, found.pairs) == (4, 3)
    assert (found.low, found.high) == pytest.approx((4 - half, 4 + half))


def test_of_single_seeds_it_is_the_textbook_interval() -> None:
    """Student's, of a mean of independent numbers."""
    numbers = [1.0, 4.0, 2.0, 7.0]
    found = mean({(seed,): number for seed, number in enumerate(numbers)})
    half = t.ppf(0.975, 3) * np.std(numbers, ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((3.5 - half, 3.5 + half))


def test_a_ratio_by_hand() -> None:
    """4 over 2, of the seeds that both have; where nothing scatters the interval is a point."""
    twos = dict.fromkeys(PAIRS, 2.0)
    assert ratio(PAIRS, twos).value == 2
    assert ratio(PAIRS, {**twos, (3, 0): 100.0}).value == 2
    even = ratio(dict.fromkeys(PAIRS, 4.0), twos)
    assert (even.low, even.value, even.high) == (2, 2, 2)


def test_a_normalised_number_and_the_ratio_of_two() -> None:
    """(4 - 1) / (7 - 1) is a half of the way; (2 - 1) / (5 - 1) a quarter: twice as far."""
    chance = {(seed,): 1.0 for seed in range(3)}
    far = [PAIRS, chance, dict.fromkeys(PAIRS, 7.0)]
    near = [dict.fromkeys(PAIRS, 2.0), chance, dict.fromkeys(PAIRS, 5.0)]
    assert normalised(*far).value == pytest.approx(0.5)
    assert ratio_normalised(far, near).value == pytest.approx(2)


def test_what_there_is_none_of_has_a_reason() -> None:
    """One seed has no pairs, two have no interval, and no ceiling above chance, no score."""
    assert mean({}).reason == "there are 0 seeds: pairs take at least 2"
    two = mean({(0, 1): 1.0, (1, 0): 2.0})
    assert two.value == 1.5
    assert two.low is None
    assert two.reason == (
        "no interval: there are 2 seeds, and without one of them there is no value"
    )
    level = dict.fromkeys(PAIRS, 1.0)
    assert normalised(PAIRS, level, level).reason == "the ceiling is not above chance"
    assert ratio(PAIRS, dict.fromkeys(PAIRS, 0.0)).reason == "the second is not above zero"


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Numbers of pairs that share what is peculiar to their seeds, of both sides: at 5 seeds 95 %
    of the intervals hold the mean, where taking pairs as independent gives far less."""
    draw, held, bare = np.random.default_rng(0), 0, 0
    for _ in range(2000):
        one, other = draw.normal(size=(2, 5))
        numbers = {(a, b): one[a] + other[b] for a, b in permutations(range(5), 2)}
        found = mean(numbers)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0 <= found.high
        values = np.array(list(numbers.values()))
        half = t.ppf(0.975, 19) * values.std(ddof=1) / 20**0.5
        bare += abs(values.mean()) <= half
    assert held / 2000 == pytest.approx(0.95, abs=0.015)
    assert bare / 2000 < 0.85
