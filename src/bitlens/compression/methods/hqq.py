"""HQQ: rounding to a grid whose zero points were moved to where the error is least."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, DataFree
from bitlens.compression.numerics.grid import grouped
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError
from bitlens.models.matrices import LinearMap

_PIECE = 2**16
"""Weights rounded at a time: they and what rounding needs stay in cache."""
_MOST_MOVES = 20
_NORM = 0.7
_BETA = 10.0
_LEAST_RANGE = 1e-4
_LEAST_STEP = 1 / 2e4
_SHRUNK_TO_ZERO = 0.99 * _BETA ** (1 / (_NORM - 2))
"""Errors below beta^(1/(p-2)) = 0.170 shrink to nothing; a little less, so that rounding does not
decide."""


@COMPRESSIONS.register("hqq")
@dataclass(frozen=True, kw_only=True)
class Hqq(DataFree):
    """Half-quadratic quantization (Badri and Shaji 2023, "Half-Quadratic Quantization of Large
    Machine Learning Models"), without data.

    Each group has codes from its least weight to its largest, and a zero point, not a whole
    number, that is moved to lessen sum |error|^0.7: in turn the errors are shrunk (`_shrunk`) and
    the zero point becomes the mean that is left, at most 20 times, until the mean |error| of the
    matrix stops falling. As the library hqq 0.2.8 does with axis=1: beta stays 10, a range below
    1e-4 has a step of 1 (which leaves of the group its mean), and no step is below 1/20000.
    Scales and zero points are counted as 16 bits and kept in float32.
    """

    name: ClassVar[str] = "hqq"
    question: ClassVar[str] = (
        "What does rounding do whose zero points were moved to where the error is least?"
    )

    bits: int
    """2 to 8."""
    group: int = 64
    """Consecutive input columns within a row that share a scale; 0: the whole row."""

    def __post_init__(self) -> None:
        check(self)
        if not 2 <= self.bits <= 8:
            raise InputError(f"hqq: bits is {self.bits}.", "2 to 8.", "hqq:bits=4")
        if self.group < 0:
            raise InputError(
                f"hqq: group is {self.group}.",
                "a number of input columns, or 0 for whole rows.",
                f"hqq:bits={self.bits},group=64",
            )

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        """Round a matrix, of fused experts each by itself."""
        weight = working_copy(matrix)
        group = self.group or weight.shape[-1]
        view = grouped(self.name, matrix.name, weight, group)
        # Every expert has its own error, by which it stops.
        for expert in view.view(-1, view.shape[-3:-1].numel(), group):
            _round_(expert, 2**self.bits - 1)
        return CompressedMatrix(weight, self.bits + 2 * 16 / group, group=self.group)


def _round_(groups: Tensor, highest: int) -> None:
    """Groups `[n, group]` of one matrix become what their codes stand for, in place."""
    low = groups.amin(-1, keepdim=True)
    span = groups.amax(-1, keepdim=True) - low
    scale = torch.where(span <= _LEAST_RANGE, 1, highest / span).clamp_(max=1 / _LEAST_STEP)
    together = max(1, _PIECE // groups.shape[-1])
    pieces = [
        (piece.mul_(part), part)
        for piece, part in zip(groups.split(together), scale.split(together), strict=True)
    ]
    zeros = (-low * scale).split(together)
    least = torch.inf
    for _ in range(_MOST_MOVES):
        moved = [_moved(*piece, zero, highest) for piece, zero in zip(pieces, zeros, strict=True)]
        zeros = [zero for zero, _ in moved]
        error = float(sum(error for _, error in moved))
        if error >= least:
            break
        least = error
    for (piece, part), zero in zip(pieces, zeros, strict=True):
        piece.add_(zero).round_().clamp_(0, highest).sub_(zero).mul_(1 / part)


def _moved(weights: Tensor, scale: Tensor, zero: Tensor, highest: int) -> tuple[Tensor, Tensor]:
    """Where the zero points of groups `[n, group]` go next, and the sum of |error| before that.
    `weights` have been multiplied by the scale."""
    wanted = (weights + zero).round_().clamp_(0, highest).sub_(weights)
    mean = wanted.mean(-1, keepdim=True)
    errors = torch.sub(zero, wanted, out=wanted).div_(scale)
    sizes = errors.abs()
    # Errors are seldom that large, and powers cost more than all the rest.
    if sizes.max() > _SHRUNK_TO_ZERO:
        mean += scale * _shrunk(errors).mean(-1, keepdim=True)
    return mean, sizes.sum()


def _shrunk(errors: Tensor) -> Tensor:
    """The generalised soft threshold sign(e) max(0, |e| - |e|^(p-1) / beta): what is left of an
    error once a cheap one is forgiven."""
    sizes = errors.abs()
    return (sizes - sizes.pow(_NORM - 1) / _BETA).clamp_min_(0).copysign_(errors)
