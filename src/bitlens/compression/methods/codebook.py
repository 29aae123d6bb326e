"""NF4 and FP4: blocks of weights rounded to a fixed table of sixteen values."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, DataFree
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError
from bitlens.models.matrices import LinearMap

_PIECE = 2**16
"""Weights rounded at a time: they and what rounding needs stay in cache."""
_LEAST_SCALE = 1e-38
_SCALES_TOGETHER = 256
"""Scales that share a scale of their own where quantization is double."""


@dataclass(frozen=True, kw_only=True)
class Codebook(DataFree):
    """Weights divided by the largest magnitude of their block become the nearest value of a table,
    halfway the lower one.

    A block is `block` consecutive weights of a matrix, row after row of its `[out, in]`; the last
    may be short. So does bitsandbytes, which transposes what GPT-2 stores `[in, out]` first; fused
    experts, which it leaves alone, are matrices of their own here. Equal to bitsandbytes 0.50 on
    CPUs bit by bit.
    """

    table: ClassVar[tuple[float, ...]]
    """Rising, from -1 to 1."""

    block: int = 64
    """Consecutive weights that share a 32-bit scale."""
    double: bool = False
    """Quantize the scales too (Dettmers et al. 2023, arXiv 2305.14314, section 3): less their
    mean, in blocks of 256 with a 32-bit scale, to 256 values of 8-bit dynamic type."""

    def __post_init__(self) -> None:
        check(self)
        if self.block < 1:
            raise InputError(
                f"{self.name}: block is {self.block}.",
                "a number of weights that share a scale.",
                f"{self.name}:block=64",
            )

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        """Round a matrix block by block to the table."""
        weight = working_copy(matrix)
        width = weight.shape[-1]
        size = weight.shape[-2] * width
        matrices = weight.view(-1, size)
        whole = size - size % self.block
        blocks, rest = matrices[:, :whole].unflatten(1, (-1, self.block)), matrices[:, whole:]
        scales = torch.maximum(blocks.amax(-1), -blocks.amin(-1))
        factors = 1 / scales.clamp(min=_LEAST_SCALE)
        if whole < size:
            last = rest.abs().amax(-1, keepdim=True)
            rest.div_(last.clamp(min=_LEAST_SCALE))
            scales = torch.cat([scales, last], -1)
        count = scales.shape[-1]
        if self.double:
            scales = _twice_rounded(scales)
        self._round_(blocks, factors, scales[:, : blocks.shape[1]])
        if whole < size:
            self._round_(rest.unsqueeze(1), torch.ones_like(last), scales[:, -1:])
        return CompressedMatrix(
            weight, self._bits(size, count), group=self.block if width % self.block == 0 else 0
        )

    def _bits(self, weights: int, scales: int) -> float:
        """4, the scales, and where these are quantized their scales and their mean."""
        if not self.double:
            return 4 + 32 * scales / weights
        return 4 + (8 * scales + 32 * math.ceil(scales / _SCALES_TOGETHER) + 32) / weights

    def _round_(self, blocks: Tensor, factors: Tensor, scales: Tensor) -> None:
        """Blocks `[matrix, block, weight]` times factors become values of the table times scales
        `[matrix, block]`, in place."""
        table = torch.tensor(self.table, device=blocks.device)
        bounds = ((table[:-1] + table[1:]) / 2).tolist()
        together = max(1, _PIECE // (len(blocks) * blocks.shape[-1]))
        parts = (x.split(together, 1) for x in (blocks, factors[..., None], scales[..., None]))
        for piece, factor, scale in zip(*parts, strict=True):
            quotients = piece * factor
            # To count the bounds below each is four times as fast as to search among them.
            codes = torch.zeros_like(quotients)
            above = torch.empty_like(quotients)
            for bound in bounds:
                codes.add_(torch.gt(quotients, bound, out=above))
            values = table.index_select(0, codes.int().view(-1))
            torch.mul(values.view(piece.shape), scale, out=piece)


@COMPRESSIONS.register("nf4")
@dataclass(frozen=True, kw_only=True)
class Nf4(Codebook):
    """NormalFloat: quantiles of a normal distribution, 0 among them (Dettmers et al. 2023, arXiv
    2305.14314, appendix E)."""

    name: ClassVar[str] = "nf4"
    question: ClassVar[str] = (
        "What does rounding to sixteen quantiles of a normal distribution do (NormalFloat)?"
    )
    table: ClassVar[tuple[float, ...]] = (
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    )


@COMPRESSIONS.register("fp4")
@dataclass(frozen=True, kw_only=True)
class Fp4(Codebook):
    """Floating point with two bits of exponent and one of fraction, as bitsandbytes has it:
    twelfths of 0, 1/16, 2, 3, 4, 6, 8 and 12, and their negatives. Two of the codes are 0."""

    name: ClassVar[str] = "fp4"
    question: ClassVar[str] = (
        "What does rounding to four-bit floats do, two bits of exponent, one of fraction?"
    )
    table: ClassVar[tuple[float, ...]] = tuple(
        value / 12 for value in (-12, -8, -6, -4, -3, -2, -1 / 16, 0, 1 / 16, 2, 3, 4, 6, 8, 12)
    )


def _twice_rounded(scales: Tensor) -> Tensor:
    """Scales `[matrix, block]` after they were quantized themselves."""
    offset = scales.mean(-1, keepdim=True)
    count = scales.shape[-1]
    centred = pad(scales - offset, (0, -count % _SCALES_TOGETHER))
    centred = centred.unflatten(-1, (-1, _SCALES_TOGETHER))
    largest = centred.abs().amax(-1, keepdim=True)
    quotients = centred * (1 / largest.clamp(min=_LEAST_SCALE))
    # On CPUs bitsandbytes looks codes up by the nearest of 65,536 quotients.
    steps = torch.floor((quotients + 1) / 2 * 65535 + 0.5)
    table = _dynamic_table().to(scales.device)
    codes = torch.bucketize(steps / 65535 * 2 - 1, (table[:-1] + table[1:]) / 2)
    weights: Tensor = (table[codes] * largest).flatten(-2)[:, :count] + offset
    return weights


def _dynamic_table() -> Tensor:
    """The 256 values of the signed 8-bit dynamic type (Dettmers 2015, arXiv 1511.04561): for each
    of seven powers of ten the middles of equal parts of [0.1, 1], twice as many for the next power
    up, of either sign; and 0 and 1."""
    values = [torch.tensor([0.0, 1.0])]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1)
        middles = 10.0 ** (exponent - 6) * ((edges[:-1] + edges[1:]) / 2)
        values += [middles, -middles]
    return torch.cat(values).sort().values
