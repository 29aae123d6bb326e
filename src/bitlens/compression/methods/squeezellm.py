"""SqueezeLLM: a few values a row, standing where weights are many and matter."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics.input_statistics import Statistic, never_active
from bitlens.compression.numerics.kmeans import means, middles
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError
from bitlens.models.matrices import LinearMap

_PIECE = 2**20
"""Weights at a time: sorted and summed up they take ten times the memory."""
_VALUE_BITS = 16
_INDEX_BITS = 32
_LEAST_IMPORTANCE = 1e-6
"""Of the mean: inputs that calibration never saw still count among themselves."""


@COMPRESSIONS.register("squeezellm")
@dataclass(frozen=True, kw_only=True)
class SqueezeLlm(Compression):
    """Each output row has 2^bits values of its own, found by weighted k-means, and the weights of
    largest magnitude are kept as they are (Kim et al. 2023, arXiv 2306.07629, section 4).

    Two things differ from the paper. A weight counts by the mean square of its input, which is the
    curvature of the layer's own output error; the paper takes the Fisher information of the loss,
    which needs gradients. And all that is kept is kept for its magnitude; the paper keeps 0.4 % for
    that and 0.05 % for their information.

    A row's values are counted as 16 bits each and kept in float32, what is kept as the bits it is
    stored in and 32 of a place.
    """

    name: ClassVar[str] = "squeezellm"
    question: ClassVar[str] = (
        "What do a few values a row do that stand where weights are many and matter?"
    )

    bits: int
    """2 to 8."""
    outliers: float = 0.0045
    """Share of a matrix's weights that are kept: round(outliers * n) of the largest |w|."""

    def __post_init__(self) -> None:
        check(self)
        if not 2 <= self.bits <= 8:
            raise InputError(f"squeezellm: bits is {self.bits}.", "2 to 8.", "squeezellm:bits=4")
        if not 0 <= self.outliers < 1:
            raise InputError(
                f"squeezellm: outliers is {self.outliers}.",
                "a share of at least 0 and below 1.",
                f"squeezellm:bits={self.bits},outliers=0.0045",
            )

    @property
    def statistics(self) -> frozenset[Statistic]:
        """The mean squares of the inputs, by which weights count."""
        return frozenset({"mean_square"})

    @property
    def sequential(self) -> bool:
        """No: what weights count is the reference's business, as in the paper."""
        return False

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Cluster the weights of each matrix, row by row."""
        mean_square = group.statistic("mean_square")
        return [self._clustered(matrix, mean_square) for matrix in group.matrices]

    def _clustered(self, matrix: LinearMap, square: Tensor) -> CompressedMatrix:
        weight = working_copy(matrix)
        *_, rows, columns = weight.shape
        kept = _largest(weight.view(-1, rows * columns), self.outliers).view_as(weight)
        mean = square.mean(-1, keepdim=True)
        importance = torch.where(mean > 0, square.clamp(min=_LEAST_IMPORTANCE * mean), 1)
        counts = importance.unsqueeze(-2).expand_as(weight).flatten(0, -2)
        together = max(1, _PIECE // columns)
        parts = [weight.view(-1, columns), counts, kept.view(-1, columns)]
        for piece, count, keep in zip(*(part.split(together) for part in parts), strict=True):
            values = means(piece, count * ~keep, 2**self.bits)
            nearest = torch.searchsorted(middles(values), piece, right=True)
            piece.copy_(torch.where(keep, piece, values.gather(-1, nearest)))
        stored = 8 * matrix.weight.element_size()
        apart = int(kept.sum()) / kept.numel() * (stored + _INDEX_BITS)
        bits = self.bits + _VALUE_BITS * 2**self.bits / columns + apart
        return CompressedMatrix(weight, bits, note=never_active(square, "counted least"))


def _largest(matrices: Tensor, share: float) -> Tensor:
    """Which are the largest magnitudes of each matrix `[matrix, weight]`?"""
    count = round(share * matrices.shape[-1])
    places = matrices.abs().topk(count, sorted=False).indices
    return torch.zeros_like(matrices, dtype=torch.bool).scatter_(-1, places, value=True)
