"""Published definitions give what they gave, and what random matrices give."""

import numpy as np
import pytest
import torch
from scipy import stats

from bitlens.analyses.geometry import debiased_cka
from bitlens.sae.alignment.chance import best_cosine, mutual_pairs
from bitlens.sae.alignment.published import (
    biased_cka,
    mutual_nearest,
    permutation_p,
    procrustes_alignment,
    raw_alignment,
    sparsity_agreement,
)
from tests.support.planted_dictionaries import noisy, order, orthogonal, unit


def gaussian(n: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def test_raw_alignment_by_hand() -> None:
    """(2, 0) and (3, 4) against (8, 6) and (0, 5): 0.8 and 0.96."""
    first, second = torch.tensor([[2.0, 0.0], [3.0, 4.0]]), torch.tensor([[8.0, 6.0], [0.0, 5.0]])
    assert raw_alignment(first, second) == pytest.approx(0.88)
    assert mutual_nearest(first, second) == 0.5


def test_raw_alignment_has_a_chance_above_0() -> None:
    """That of random directions."""
    found = raw_alignment(gaussian(1000, 128, 0), gaussian(1000, 128, 1))
    assert found == pytest.approx(best_cosine(1000, 128), rel=0.01)


@pytest.mark.parametrize(
    ("ratio", "expected", "mutual"),
    [
        (0.1, 0.976, 1),
        (0.25, 0.938, 1),
        (0.5, 0.875, 1),
        (1, 0.75, 1),
        (2, 0.568, 1),
        (4, 0.413, 0.99),
        (8, 0.296, 0.89),
    ],
)
def test_in_sample_procrustes_of_random_matrices(
    ratio: float, expected: float, mutual: float
) -> None:
    """1 - c/4 up to c = 1; and nearly every latent is its partner's mutual nearest neighbour, all
    of them up to c = 2 (in 1,024 dimensions up to c = 8)."""
    n = round(ratio * 256)
    first, second = gaussian(n, 256, 0), gaussian(n, 256, 1)
    assert procrustes_alignment(first, second) == pytest.approx(expected, abs=0.005)
    assert mutual_nearest(first, second, rotated=True) >= mutual
    assert mutual_nearest(first, second) == pytest.approx(mutual_pairs(n, n) / n, abs=0.1)


def test_in_sample_procrustes_wants_the_order_to_mean_something() -> None:
    """A rotated dictionary scores 1; the same one in another order, no more than random ones."""
    first = unit(512, 256)
    second = noisy(first @ orthogonal(256), 0.1)
    assert procrustes_alignment(first, second) > 0.99
    assert procrustes_alignment(first, second[order(512)]) == pytest.approx(0.57, abs=0.02)


def test_dead_latents_that_were_initialised_alike_look_aligned() -> None:
    """100 latents that share nothing and 900 that never moved: 0.92."""
    dead = unit(900, 64, seed=9)
    first, second = (torch.cat([unit(100, 64, seed=s), dead]) for s in (1, 2))
    assert raw_alignment(first, second) > 0.9
    assert raw_alignment(first[:100], second[:100]) < 0.4


def test_biased_cka_is_the_form_with_gram_matrices() -> None:
    """Centred in columns, by n x n products."""
    x, y = gaussian(30, 12, 0), gaussian(30, 9, 1) + 0.5
    x[:, :9] += y
    a, b = (of.double() - of.double().mean(0) for of in (x, y))
    k, m = a @ a.T, b @ b.T
    expected = (k * m).sum() / ((k * k).sum() * (m * m).sum()).sqrt()
    assert biased_cka(x, y) == pytest.approx(float(expected))


@pytest.mark.parametrize(("positions", "expected"), [(227, 0.900), (500, 0.804)])
def test_biased_cka_of_independent_activations(positions: int, expected: float) -> None:
    """Width / (width + positions), where the debiased one is 0."""
    x, y = gaussian(positions, 2048, 0), gaussian(positions, 2048, 1)
    assert biased_cka(x, y) == pytest.approx(expected, abs=0.003)
    grams = [(of @ of.T).fill_diagonal_(0) for of in (x, y)]
    found = debiased_cka(*grams, np.zeros(positions, dtype=np.int64), np.ones((1, 1)))  # type: ignore[call-arg]
    assert found is not None
    assert abs(found[0]) < 0.02


def test_sparsity_agreement_by_hand_and_of_dead_latents() -> None:
    """Three of four entries agree; 99 latents dead in both make unrelated codes agree at 99 %."""
    first, second = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 1.0], [0.0, 1.0]])
    assert sparsity_agreement(first, second) == 0.75
    codes = [torch.zeros(1000, 100) for _ in range(2)]
    for seed, code in enumerate(codes):
        code[:, 0] = gaussian(1000, 1, seed)[:, 0].relu()
    assert sparsity_agreement(*codes) > 0.99
    assert sparsity_agreement(*(code[:, :1] for code in codes)) < 0.6


def test_permutation_p_can_be_0() -> None:
    """Of 40 differences of one sign no draw is as large; with the observed one counted it never
    is 0. Elsewhere it is scipy's, up to that one."""
    ones, zeros = np.ones(40), np.zeros(40)
    assert permutation_p(ones, zeros) == 0
    assert permutation_p(ones, ones) == 1
    draw = np.random.default_rng(0)
    x, y = draw.normal(0.2, 1, 30), draw.normal(0, 1, 30)
    oracle = stats.permutation_test(
        (x, y), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=9999, rng=1
    )
    assert permutation_p(x, y) == pytest.approx(oracle.pvalue, abs=0.02)
