"""Selection of the smallest, among many and with ties."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.compression.numerics import sparsity_masks as sparsity


def plainly(weights: Tensor, count: int) -> Tensor:
    """Zeros for the `count` first of a stable sort of `[n]`."""
    keep = torch.ones_like(weights)
    keep[weights.abs().argsort(stable=True)[:count]] = 0
    return keep


@pytest.mark.parametrize("share", [1e-5, 0.001, 0.3, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["normal", "sorted", "tied", "periodic", "heavy"])
def test_among_many(kind: str, share: float) -> None:
    """In matrices of which only a sample is sorted, the mask is that of a stable sort, whatever
    the order of the weights and however badly the sample represents them."""
    random = torch.Generator().manual_seed(0)
    weights = torch.randn(300, 400, generator=random)
    if kind == "sorted":
        weights = weights.flatten().sort().values.view(300, 400)
    elif kind == "tied":
        weights = (weights * 3).round() / 3 + 0.1
    elif kind == "periodic":
        weights.view(-1)[::97] *= 100
    elif kind == "heavy":
        weights = weights**9 + 1e-30
    count = round(share * weights.numel())
    keep, left = sparsity.unstructured_mask(weights[None], count)
    assert torch.equal(keep.flatten(), plainly(weights.flatten(), count))
    assert left == weights.numel() - count


@pytest.mark.parametrize("count", [1, 2, 30_000, 65_535, 65_536])
def test_the_smallest_of_many(count: int) -> None:
    """It is that of a sorted array, at the ends too."""
    values = np.random.default_rng(0).exponential(size=2**16).astype(np.float32)
    assert sparsity._smallest_of_many(values, count) == np.sort(values)[count - 1]


def test_importance_decides_among_weights() -> None:
    """A factor for each column, or for each row; where it is 0 weights are worth nothing, and
    only as many of them go as should."""
    weights = torch.tensor([[[3.0, 2, 1], [3, 2, 1]]])
    keep, left = sparsity.unstructured_mask(weights, 3, torch.tensor([[[0.0, 0, 1]]]))
    assert keep.tolist() == [[[0, 0, 1], [0, 1, 1]]]
    assert left == 3
    keep, left = sparsity.unstructured_mask(weights, 3, torch.tensor([[[1.0], [10]]]))
    assert keep.tolist() == [[[0, 0, 0], [1, 1, 1]]]
    assert left == 3
    keep, left = sparsity.unstructured_mask(weights, 0, torch.tensor([[[0.0, 0, 1]]]))
    assert keep.all()
    assert left == 6


def test_layout_in_memory_does_not_matter() -> None:
    """Views of transposed storage, with ties, give what contiguous weights give."""
    random = torch.Generator().manual_seed(0)
    weights = torch.randn(2, 6, 8, generator=random).round()
    view = weights.mT.contiguous().mT
    assert not view.is_contiguous()
    for factor in (None, torch.ones(2, 6, 1)):
        assert torch.equal(
            sparsity.unstructured_mask(view, 20, factor)[0],
            sparsity.unstructured_mask(weights, 20, factor)[0],
        )
    assert torch.equal(sparsity.n_of_m_mask(view, 2, 4), sparsity.n_of_m_mask(weights, 2, 4))
