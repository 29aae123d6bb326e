"""SparseGPT, against the plain way."""

import pytest
import torch
from torch import Tensor

from bitlens.compression.numerics import optimal_brain_surgeon as obs
from bitlens.compression.numerics import sparsegpt


def moments(width: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=random, dtype=torch.float64)
    x = torch.randn(3 * width, width, generator=random, dtype=torch.float64) @ mixing
    return x.T @ x / (3 * width)


def plainly(
    weight: Tensor, second: Tensor, share: float | None, pattern: tuple[int, int]
) -> Tensor:
    """`[out, in]`; inverts the second moments of the columns not settled yet at every column."""
    weight = weight.clone()
    width, (n, m) = weight.shape[1], pattern
    gptq = torch.linalg.cholesky(torch.linalg.inv(second), upper=True).diagonal()
    block = m if share is None else 128
    for start in range(0, width, block):
        scores = (weight[:, start : start + block] / gptq[start : start + block]).square()
        keep = torch.ones_like(scores)
        if share is None:
            keep.scatter_(1, scores.argsort(dim=1, stable=True)[:, : m - n], 0)
        else:
            smallest = scores.T.flatten().argsort(stable=True)[: round(share * scores.numel())]
            flat = torch.ones(scores.numel(), dtype=scores.dtype)
            flat[smallest] = 0
            keep = flat.view(scores.T.shape).T
        for j in range(start, min(start + block, width)):
            left = torch.linalg.inv(second[j:, j:])[0]
            gone = weight[:, j] * (1 - keep[:, j - start])
            weight[:, j + 1 :] -= torch.outer(gone / left[0], left[1:])
            weight[:, j] -= gone
    return weight


def test_by_hand() -> None:
    """Of [0.6, 0.7] the first goes; the second's inputs are half of its besides their own, so
    the second becomes 1.3."""
    second = torch.tensor([[[2.0, 1], [1, 1]]])
    columns = torch.tensor([[[0.6], [0.7]]])
    sparsegpt.zero_(columns, obs.decompose(second, 0.0), 0.5, (0, 0))
    assert columns.flatten().tolist() == [0, pytest.approx(1.3)]


@pytest.mark.parametrize(
    ("width", "share", "pattern"),
    [(200, 0.5, (0, 0)), (40, 0.3, (0, 0)), (64, None, (2, 4)), (63, None, (1, 3))],
)
def test_equals_the_plain_way(width: int, share: float | None, pattern: tuple[int, int]) -> None:
    """The zeros are the same and the other weights are, to machine precision."""
    second = moments(width)
    random = torch.Generator().manual_seed(1)
    weight = torch.randn(10, width, generator=random, dtype=torch.float64)
    columns = weight.T.contiguous()[None]
    sparsegpt.zero_(columns, obs.decompose(second[None], 0.0), share, pattern)
    expected = plainly(weight, second, share, pattern)
    assert torch.equal(columns[0].T == 0, expected == 0)
    torch.testing.assert_close(columns[0].T, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_exactly_so_many_in_every_block(share: float) -> None:
    """Of every 128 columns, and of the rest at the end, the share that was asked for."""
    columns = torch.randn(2, 300, 10, generator=torch.Generator().manual_seed(0))
    second = torch.stack([moments(300), moments(300, 1)]).float()
    sparsegpt.zero_(columns, obs.decompose(second, 0.01), share, (0, 0))
    for block in columns.split(128, dim=1):
        zeros = (block == 0).sum((1, 2))
        assert zeros.tolist() == [round(share * block[0].numel())] * 2
