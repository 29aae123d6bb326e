"""Hadamard rotations."""

import pytest
import torch

from bitlens.compression.numerics.hadamard import hadamard


@pytest.mark.parametrize("size", [1, 2, 16, 128, 12, 20, 28, 36, 76, 768, 896])
def test_entries_are_of_one_size(size: int) -> None:
    """Orders of Sylvester (powers of two) and Paley (12, 20: one more than a prime; 28, 36, 76:
    twice that): every number counts alike in every new one, and the basis is orthogonal."""
    matrix = hadamard(size, 5).apply(torch.eye(size))
    torch.testing.assert_close(matrix.abs(), torch.full((size, size), size**-0.5))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [3, 6, 172, 700])
def test_other_sizes_are_orthogonal(size: int) -> None:
    """With an odd factor of which there is no matrix among those: mixed by a random one."""
    matrix = hadamard(size).apply(torch.eye(size))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size), atol=1e-5, rtol=0)


def test_two_by_hand() -> None:
    """Sum and difference over √2."""
    x = torch.tensor([3.0, 1.0])
    torch.testing.assert_close(hadamard(2).apply(x), torch.tensor([4.0, 2.0]) / 2**0.5)


def test_undone() -> None:
    """There and back, whatever the shape; signs are those of the seed."""
    x = torch.randn(3, 5, 96, generator=torch.Generator().manual_seed(0))
    for seed in (None, 1, 2):
        rotation = hadamard(96, seed)
        torch.testing.assert_close(rotation.undo(rotation.apply(x)), x)
    assert not torch.equal(hadamard(96, 1).apply(x), hadamard(96, 2).apply(x))
    assert bool((hadamard(96).signs == 1).all())
