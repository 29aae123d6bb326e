"""Every measure by hand, and as it was planted."""

import numpy as np
import pytest
import torch

from bitlens.sae.alignment.compare import MEASURES, QUANTILES, compare, of_uniform
from tests.support.planted_dictionaries import noisy, order, orthogonal, unit


def test_two_by_two_by_hand() -> None:
    """Cosines 0.8 and 0, 0.96 and 0.8. Best: 0.8 and 0.96; 0.96 and 0.8. One mutual pair at 0.96,
    2 of 4 latents. One to one: 0.8 twice."""
    first = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    second = torch.tensor([[0.8, 0.6], [0.0, 1.0]])
    found = compare(first, second)
    assert found.values == pytest.approx(
        {
            "best match of the first, mean": 0.88,
            "best match of the first, 10th percentile": 0.816,
            "best match of the first, median": 0.88,
            "best match of the first, 90th percentile": 0.944,
            "best match of the second, mean": 0.88,
            "best match of the second, 10th percentile": 0.816,
            "best match of the second, median": 0.88,
            "best match of the second, 90th percentile": 0.944,
            "mutual nearest neighbours": 0.5,
            "cosine of these pairs": 0.96,
            "matched one to one, cosine 0.5 or more": 1.0,
            "matched one to one, cosine 0.7 or more": 1.0,
            "matched one to one, cosine 0.9 or more": 0.0,
        }
    )
    assert list(found.absent) == ["cosine of these pairs, rotated as the other half says"]
    assert found.first == pytest.approx(np.quantile([0.8, 0.96], QUANTILES).tolist())


def test_ways_are_told_apart() -> None:
    """A second dictionary that holds half of the first: all of the second is found in the first,
    half of the first in the second; 2 * 100 of 300 latents have a partner."""
    first = unit(200, 64)
    found = compare(first, first[:100]).values
    assert found["best match of the second, mean"] == pytest.approx(1)
    assert found["best match of the first, 90th percentile"] == pytest.approx(1)
    assert found["best match of the first, 10th percentile"] < 0.5
    for name in ("mutual nearest neighbours", "matched one to one, cosine 0.9 or more"):
        assert found[name] == pytest.approx(2 * 100 / 300)
    swapped = compare(first[:100], first).values
    assert swapped["best match of the first, mean"] == found["best match of the second, mean"]
    assert swapped["mutual nearest neighbours"] == found["mutual nearest neighbours"]


def test_equal_dictionaries_are_intact() -> None:
    """In another order: every measure is what its metric calls intact."""
    first = unit(400, 32)
    found = compare(first, first[order(400)])
    assert list(found.values) == list(MEASURES)
    assert not found.absent
    for name, value in found.values.items():
        assert value == pytest.approx(MEASURES[name].intact, abs=1e-6), name


def test_cuts_tell_the_noise() -> None:
    """At cosine 0.8 on average all pairs are above 0.7 and hardly any above 0.9."""
    first = unit(300, 256)
    found = compare(first, noisy(first, 0.75)[order(300)]).values
    assert found["matched one to one, cosine 0.7 or more"] == 1
    assert found["matched one to one, cosine 0.9 or more"] == 0
    assert found["cosine of these pairs"] == pytest.approx(0.8, abs=0.01)


def test_a_small_rotation_of_all_is_undone() -> None:
    """Latents keep their neighbours; held-out pairs are at 1 after the rotation only."""
    width = 16
    small = torch.linalg.matrix_exp(0.12 * (orthogonal(width) - orthogonal(width).T))
    first = unit(100, width)
    found = compare(first, first @ small).values
    assert found["mutual nearest neighbours"] == 1
    assert found["cosine of these pairs"] < 0.99
    assert found["cosine of these pairs, rotated as the other half says"] == pytest.approx(1)


def test_uniform_directions_are_at_their_chance() -> None:
    """Within two hundredths, for dictionaries of different sizes; what has no analytic answer is
    not there."""
    first, second = unit(1200, 48), unit(700, 48, seed=5)
    found, expected = compare(first, second).values, of_uniform(1200, 700, 48)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=0.02), name
    assert set(found) - set(expected) == {n for n in found if "pairs" in n or "one to one" in n}
    assert expected["best match of the first, mean"] < expected["best match of the second, mean"]
