"""llama.cpp's block formats, as its reference code quantizes (ggml-quants.c)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bitlens.compression.numerics.llama_k_blocks import (
    Search,
    fit_by_search,
    fit_by_turns,
    symmetric,
    with_minimum,
)


class BlockFormat(NamedTuple):
    """How a block format is laid out and rounds."""

    block: int
    """Consecutive numbers of a row."""
    bytes: int
    """Of a block, its scale and, where it has one, its least number included."""
    round_: Callable[[Tensor], None]
    """`[..., blocks, number]` to what is read back, in place."""
    part: int = 0
    """Of a block's numbers so many share a scale of their own; 0: all do."""

    @property
    def bits(self) -> float:
        """Of a number."""
        return 8 * self.bytes / self.block

    @property
    def group(self) -> int:
        """Consecutive numbers of a row that share a scale."""
        return self.part or self.block


def _from_largest(bits: int) -> Callable[[Tensor], None]:
    """The weight of largest magnitude, whatever its sign, is the lowest code."""
    low = -(2 ** (bits - 1))

    def round_(blocks: Tensor) -> None:
        step = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True)) / low
        codes = blocks.mul_(_inverse(step)).add_(0.5 - low).trunc_().clamp_(0, -2 * low - 1)
        codes.add_(low).mul_(_stored(step))

    return round_


def _between_extremes(bits: int) -> Callable[[Tensor], None]:
    """Equal steps from the least weight to the largest."""
    highest = 2**bits - 1

    def round_(blocks: Tensor) -> None:
        least = blocks.amin(-1, keepdim=True)
        step = (blocks.amax(-1, keepdim=True) - least) / highest
        codes = blocks.sub_(least).mul_(_inverse(step)).add_(0.5).trunc_().clamp_(0, highest)
        codes.mul_(_stored(step)).add_(_stored(least))

    return round_


def _symmetric(highest: int) -> Callable[[Tensor], None]:
    """Whole multiples of a step, halves away from zero; the largest magnitude is `highest`."""

    def round_(blocks: Tensor) -> None:
        step = blocks.abs().amax(-1, keepdim=True) / highest
        whole = blocks.mul_(_inverse(step)).trunc()
        torch.add(whole, blocks.sub_(whole).mul_(2).trunc_(), out=blocks).mul_(_stored(step))

    return round_


def _microscaling(blocks: Tensor) -> None:
    """Values of four bits times a power of two, halves towards zero (OCP Microscaling Formats
    1.0, section 5.2); what exceeds twelve times the power becomes that."""
    largest = blocks.abs().amax(-1, keepdim=True)
    power = torch.exp2((torch.log2(largest).floor() - 3).clamp(min=-126))
    values = torch.tensor([0.0, 1, 2, 3, 4, 6, 8, 12], device=blocks.device)
    codes = torch.bucketize((blocks / power).abs_(), (values[:-1] + values[1:]) / 2)
    torch.mul(values[codes].copysign_(blocks), power, out=blocks)


def _stored(scales: Tensor) -> Tensor:
    return scales.half().float()


def _inverse(step: Tensor) -> Tensor:
    """A step that is stored as 0 makes every code 0."""
    return torch.where(_stored(step) == 0, 0, 1 / step)


_COARSE = Search(first=-0.5, more=0.1, tries=16, absolute=True)
_FINE = Search(first=-1.0, more=0.1, tries=21, absolute=False)
_MEDIUM = Search(first=-0.5, more=0.1, tries=16, absolute=False)

LLAMA_BLOCKS = {
    "q4_0": BlockFormat(32, 2 + 16, _from_largest(4)),
    "q4_1": BlockFormat(32, 2 + 2 + 16, _between_extremes(4)),
    "q5_0": BlockFormat(32, 2 + 20, _from_largest(5)),
    "q5_1": BlockFormat(32, 2 + 2 + 20, _between_extremes(5)),
    "q8_0": BlockFormat(32, 2 + 32, _symmetric(127)),
    "tq1_0": BlockFormat(256, 2 + 52, _symmetric(1)),
    "tq2_0": BlockFormat(256, 2 + 64, _symmetric(1)),
    "mxfp4": BlockFormat(32, 1 + 16, _microscaling),
    "q2_k": BlockFormat(256, 2 + 2 + 16 + 64, with_minimum(16, 3, 15, _COARSE), 16),
    "q3_k": BlockFormat(256, 2 + 12 + 64 + 32, symmetric(16, 4, 32, fit_by_turns), 16),
    "q4_k": BlockFormat(256, 2 + 2 + 12 + 128, with_minimum(32, 15, 63, _FINE), 32),
    "q5_k": BlockFormat(256, 2 + 2 + 12 + 160, with_minimum(32, 31, 63, _MEDIUM), 32),
    "q6_k": BlockFormat(256, 2 + 16 + 128 + 64, symmetric(16, 32, 128, fit_by_search), 16),
}
"""By the names that llama.cpp has for them."""
