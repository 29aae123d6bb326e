"""What calibration would know of a map's inputs: the same for every test, correlated, and with
columns of different size."""

from typing import Any

import torch
from torch import Tensor

from bitlens.compression.compression import Compression, MatrixGroup
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.models.matrices import LinearMap

POSITIONS = 200


def positions(matrix: LinearMap, seed: int = 0) -> Tensor:
    """`[n, in]`, or `[expert, n, in]`: what the map is multiplied with."""
    *experts, _, width = matrix.weight.shape
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=random)
    sizes = torch.logspace(-1, 1, width)[torch.randperm(width, generator=random)]
    return torch.randn(*experts, POSITIONS, width, generator=random) @ mixing * sizes / width**0.5


def inputs_of(matrix: LinearMap, compression: Compression, seed: int = 0) -> InputStatistics | None:
    """The statistics that this compression needs of those positions."""
    if not compression.statistics:
        return None
    x = positions(matrix, seed)
    known = {
        "second_moment": x.mT @ x / POSITIONS,
        "mean_square": x.square().mean(-2),
        "max_abs": x.abs().amax(-2),
        "mean_abs": x.abs().mean(-2),
    }
    count = torch.full(x.shape[:-2], POSITIONS)
    return InputStatistics(count=count, **{name: known[name] for name in compression.statistics})


def group_of(
    matrix: LinearMap, compression: Compression, seed: int = 0, prepared: Any = None
) -> MatrixGroup:
    """A matrix by itself, with the statistics that this compression needs."""
    return MatrixGroup([matrix], seed, prepared, inputs_of(matrix, compression))
