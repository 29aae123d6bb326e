"""Chance: by hand, as published values have it, and as simulation has it."""

import numpy as np
import pytest
import torch
from scipy import stats

from bitlens.sae.alignment.chance import (
    best_cosine,
    best_cosine_quantile,
    in_sample_procrustes,
    mutual_pairs,
    random_like,
)
from bitlens.sae.alignment.matching import nearest
from tests.support.planted_dictionaries import unit


def test_best_cosine_by_hand() -> None:
    """In 3 dimensions a cosine is uniform on (-1, 1): the best of n is (n - 1) / (n + 1), and of
    two angles in the plane 4 / pi^2. Of one direction it is 0."""
    for n in (1, 2, 3, 100, 10**6):
        assert best_cosine(n, 3) == pytest.approx((n - 1) / (n + 1), abs=1e-8)
    assert best_cosine(2, 2) == pytest.approx(4 / np.pi**2, abs=1e-8)
    assert best_cosine(1, 768) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize(
    ("directions", "width", "expected"),
    [
        (8192, 4096, 0.0594),
        (8192, 2048, 0.0839),
        (1024, 2048, 0.0717),
        (16384, 2048, 0.0876),
        (16384, 2304, 0.0826),
        (24576, 768, 0.1461),
    ],
)
def test_best_cosine_of_dictionaries(directions: int, width: int, expected: float) -> None:
    """Values simulated elsewhere."""
    assert best_cosine(directions, width) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("directions", "width"), [(200, 10), (1500, 60)])
def test_best_cosine_is_what_simulation_gives(directions: int, width: int) -> None:
    """Mean within its error, distribution by Kolmogorov and Smirnov's test: one direction each of
    many random dictionaries, so that they are independent."""
    best = np.concatenate(
        [
            (unit(1, width, seed=s) @ unit(directions, width, seed=1000 + s).T).amax(1)
            for s in range(400)
        ]
    ).astype(np.float64)
    assert abs(best.mean() - best_cosine(directions, width)) < 4 * stats.sem(best)
    quantiles = np.linspace(0.05, 0.95, 19)
    bounds = [best_cosine_quantile(q, directions, width) for q in quantiles]
    below = (best[:, None] < np.array(bounds)).mean(axis=0)
    assert np.abs(below - quantiles).max() < 1.63 / np.sqrt(len(best))


def test_the_median_by_hand() -> None:
    """In 3 dimensions ((1 + t) / 2)^2 = 1/4 at t = 0."""
    assert best_cosine_quantile(0.25, 2, 3) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("directions", "width"), [(0, 5), (5, 1), (-1, 5)])
def test_what_has_no_directions_is_refused(directions: int, width: int) -> None:
    """Neither none of them nor a line."""
    with pytest.raises(ValueError, match=f"{directions} directions in {width}"):
        best_cosine(directions, width)


def test_mutual_pairs_by_hand() -> None:
    """Two and two: 4/3 pairs. One and one are each other's nearest."""
    assert mutual_pairs(2, 2) == pytest.approx(4 / 3)
    assert mutual_pairs(1, 1) == 1


@pytest.mark.parametrize(("n", "m", "width"), [(40, 40, 3), (30, 80, 12)])
def test_mutual_pairs_are_what_simulation_gives(n: int, m: int, width: int) -> None:
    """Whatever the width."""
    found = [
        len(nearest(unit(n, width, seed=s), unit(m, width, seed=1000 + s)).mutual()[0])
        for s in range(300)
    ]
    assert abs(np.mean(found) - mutual_pairs(n, m)) < 4 * stats.sem(found)


def test_random_directions_are_spread_like_the_dictionary() -> None:
    """Mean and covariance are those of the dictionary's Gaussian, brought to length 1: an
    elongated dictionary off the centre gives one, and nothing of it comes back."""
    width = 24
    stretch = torch.linspace(3, 0.2, width)
    raw = unit(6000, width) * stretch + torch.eye(width)[0]
    own = torch.nn.functional.normalize(raw, dim=1)
    drawn = random_like(own, seed=0)
    assert drawn.shape == own.shape
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(6000))
    expected = torch.distributions.MultivariateNormal(
        own.mean(0), own.T.cov() + 1e-6 * torch.eye(width)
    )
    torch.manual_seed(1)
    sample = torch.nn.functional.normalize(expected.sample((6000,)), dim=1)
    torch.testing.assert_close(drawn.mean(0), sample.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), sample.T.cov(), atol=0.02, rtol=0)
    assert float((drawn * own).sum(1).max()) < 0.999


def test_random_directions_come_from_their_seed() -> None:
    """The same again, and others from another seed."""
    own = unit(20, 5)
    assert torch.equal(random_like(own, 3), random_like(own, 3))
    assert not torch.equal(random_like(own, 3), random_like(own, 4))


def test_an_elongated_dictionary_has_a_higher_chance() -> None:
    """Why uniform directions are not enough: random ones in few of the dimensions are nearer."""
    flat = torch.nn.functional.normalize(unit(500, 64) * torch.logspace(0, -2, 64), dim=1)
    best = nearest(flat, random_like(flat, 0)).of_first.mean()
    assert float(best) > 1.5 * best_cosine(500, 64)


@pytest.mark.parametrize(
    ("times", "expected"), [(0.25, 0.9375), (0.5, 0.875), (1, 0.75), (2, 0.5683), (8, 0.2963)]
)
def test_an_in_sample_rotation_fits_what_it_can(times: float, expected: float) -> None:
    """1 - c/4 up to as many directions as dimensions, less and less beyond; as random matrices
    have it."""
    width = 256
    n = int(times * width)
    assert in_sample_procrustes(n, width) == pytest.approx(expected, abs=1e-4)
    first, second = unit(n, width, seed=1), unit(n, width, seed=2)
    fitted = float(torch.linalg.svdvals(first.T @ second).sum()) / n
    assert fitted == pytest.approx(expected, abs=0.01)


def test_the_two_branches_meet_and_the_far_one_has_its_limit() -> None:
    """3/4 at one direction a dimension from both sides; 8 / (3 pi sqrt(c)) far away."""
    assert in_sample_procrustes(10_001, 10_000) == pytest.approx(0.75, abs=1e-4)
    far = in_sample_procrustes(10_000_000, 100)
    assert far == pytest.approx(8 / (3 * np.pi * np.sqrt(1e5)), rel=1e-4)
    with pytest.raises(ValueError, match="0 directions"):
        in_sample_procrustes(0, 4)
