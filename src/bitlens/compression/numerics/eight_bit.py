"""Numbers that are stored in eight bits, beside a scale."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

Format = Literal["int8", "float8_e4m3fn", "float8_e5m2"]
"""As torch names its dtypes."""

BLOCK = 128
"""Neighbours that share a scale where blocks do (DeepSeek-AI 2024, arXiv 2412.19437, 3.3.2)."""


@dataclass(frozen=True)
class EightBits:
    """Vectors of eight-bit numbers, each with a scale, or each of its blocks."""

    dtype: Format
    block: int = 0
    """Consecutive numbers that share a scale, the last ones perhaps fewer; 0: all of a vector."""

    @property
    def name(self) -> str:
        """How it is written down: `int8`, `int8 in blocks of 128`."""
        return f"{self.dtype} in blocks of {self.block}" if self.block else self.dtype

    def round_(self, numbers: Tensor, largest: Tensor | None = None) -> Tensor:
        """`[..., n]` (float32) to what is read back, in place. `largest`: the one magnitude that
        scales are made for; None: each vector's, or block's, own."""
        if largest is None:
            vectors = numbers.view(-1, numbers.shape[-1])
            largest = largest_of(vectors, 1, self.block or vectors.shape[-1])
            largest = largest.view(*numbers.shape[:-1], -1)
        return round_(numbers, largest, self.dtype)


def largest_of(numbers: Tensor, height: int, width: int) -> Tensor:
    """The largest magnitude of what shares a scale, tiles of so many rows and columns of
    `[..., rows, columns]`, at the edges less; as it broadcasts against the numbers."""
    rows, columns = numbers.shape[-2:]
    if width >= columns and (height == 1 or height >= rows):
        return numbers.abs().amax((-1,) if height == 1 else (-2, -1), keepdim=True)
    stacked = numbers.abs().reshape(-1, rows, columns)
    tops = max_pool2d(stacked, (height, width), ceil_mode=True)
    tops = tops.repeat_interleave(height, -2)[:, :rows].repeat_interleave(width, -1)[..., :columns]
    return tops.view(numbers.shape)


def round_(numbers: Tensor, largest: Tensor, dtype: Format) -> Tensor:
    """Each number becomes the nearest that the dtype holds when `largest` is its last, in place;
    halves go to even, and what is beyond `largest` becomes `largest`.

    `largest` broadcasts against the numbers; both are float32. int8 is used from -127 to 127, so
    that both signs reach equally far.
    """
    kind = getattr(torch, dtype)
    last = 127.0 if kind == torch.int8 else torch.finfo(kind).max
    # Multiplied, as LLM.int8 does, and not divided: next to a half the two can differ.
    scale = last / largest
    # Numbers too small to have a scale become 0.
    numbers.mul_(scale.masked_fill_(scale.isinf(), 0))
    # Whether torch makes NaN of what is out of a float8's range depends on its version.
    numbers.clamp_(-last, last)
    if kind == torch.int8:
        numbers.round_()
    else:
        numbers.copy_(numbers.to(kind))
    return numbers.mul_(largest / last)
