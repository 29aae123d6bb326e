"""Published definitions give what they gave, and what random matrices give."""

import pytest
import torch

from bitlens.sae.alignment.chance import best_cosine
from bitlens.sae.alignment.published import procrustes_alignment, raw_alignment
from tests.support.planted_dictionaries import noisy, order, orthogonal, unit


def gaussian(n: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def test_raw_alignment_by_hand() -> None:
    """(2, 0) and (3, 4) against (8, 6) and (0, 5): 0.8 and 0.96."""
    first, second = torch.tensor([[2.0, 0.0], [3.0, 4.0]]), torch.tensor([[8.0, 6.0], [0.0, 5.0]])
    assert raw_alignment(first, second) == pytest.approx(0.88)


def test_raw_alignment_has_a_chance_above_0() -> None:
    """That of random directions."""
    found = raw_alignment(gaussian(1000, 128, 0), gaussian(1000, 128, 1))
    assert found == pytest.approx(best_cosine(1000, 128), rel=0.01)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (0.1, 0.976),
        (0.25, 0.938),
        (0.5, 0.875),
        (1, 0.75),
        (2, 0.568),
        (4, 0.413),
        (8, 0.296),
    ],
)
def test_in_sample_procrustes_of_random_matrices(ratio: float, expected: float) -> None:
    """1 - c/4 up to c = 1, for c latents a dimension, and less from there on."""
    n = round(ratio * 256)
    first, second = gaussian(n, 256, 0), gaussian(n, 256, 1)
    assert procrustes_alignment(first, second) == pytest.approx(expected, abs=0.005)


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
