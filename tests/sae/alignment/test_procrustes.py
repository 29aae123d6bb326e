"""A rotation is found where there is one, and is worth nothing where there is none."""

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes

from bitlens.sae.alignment.procrustes import held_out, rotation
from bitlens.seeds import generator
from tests.support.planted_dictionaries import noisy, orthogonal, unit


def test_a_quarter_turn_by_hand() -> None:
    """x to y and y to -x."""
    first, second = torch.eye(2), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    torch.testing.assert_close(rotation(first, second), torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))


def test_the_rotation_is_scipys() -> None:
    """For noisy pairs in generic position."""
    first = unit(40, 7)
    second = noisy(first @ orthogonal(7), 0.4)
    expected, _ = orthogonal_procrustes(first.numpy(), second.numpy())
    np.testing.assert_allclose(rotation(first, second).numpy(), expected, atol=1e-5)


def test_every_pair_is_scored_by_the_other_half() -> None:
    """Written out with scipy's rotation for the halves that the seed draws."""
    first = unit(41, 7)
    second = noisy(first @ orthogonal(7), 0.6)
    mixed = generator(3, "halves of pairs", 41).permutation(41)
    scores = []
    for fitted, scored in ((mixed[:21], mixed[21:]), (mixed[21:], mixed[:21])):
        turn, _ = orthogonal_procrustes(first[fitted].numpy(), second[fitted].numpy())
        scores += ((first[scored].numpy() @ turn) * second[scored].numpy()).sum(1).tolist()
    assert len(scores) == 41
    assert held_out(first, second, seed=3) == pytest.approx(np.mean(scores), abs=1e-5)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_planted_rotation_is_recovered(noise: float) -> None:
    """On pairs it was not fitted to; as they are, the pairs have nothing in common."""
    first = unit(2000, 16)
    second = noisy(first @ orthogonal(16), noise)
    found = held_out(first, second)
    assert isinstance(found, float)
    assert found == pytest.approx((1 + noise**2) ** -0.5, abs=0.02)
    assert abs(float((first * second).sum(1).mean())) < 0.3


def test_unrelated_pairs_score_nothing() -> None:
    """Where the rotation, scored on what it was fitted to, reaches the 0.57 of 2 pairs a
    dimension."""
    first, second = unit(256, 128), unit(256, 128, seed=5)
    fitted = first @ rotation(first, second)
    assert float((fitted * second).sum(1).mean()) == pytest.approx(0.568, abs=0.01)
    found = held_out(first, second)
    assert isinstance(found, float)
    assert abs(found) < 0.03


@pytest.mark.parametrize(("pairs", "known"), [(0, False), (15, False), (16, True), (17, True)])
def test_too_few_pairs_have_a_reason(pairs: int, known: bool) -> None:
    """A half needs as many pairs as there are dimensions."""
    found = held_out(unit(pairs, 8), unit(pairs, 8, seed=5))
    assert isinstance(found, float) if known else "8 dimensions takes 16" in str(found)
