"""Small floats in blocks along the last axis, each block with a scale of eight bits."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bitlens.compression.numerics.small_floats import SMALL_FLOATS, Element
from bitlens.errors import ModelError

Exponent = Literal["round", "floor", "ceil"]
"""How the power of two of a block follows from its largest magnitude a and the format's, m:
`floor`: that within a over that within m, so that up to a quarter of a is cut off (OCP Microscaling
Formats 1.0, section 6.3; llama.cpp);
`round`: the same of a rounded to the format's digits (compressed-tensors 0.20);
`ceil`: the least by which nothing is cut off, a / m rounded up (NVIDIA's recipe for MXFP8)."""

_LEAST_POWER, _LARGEST_POWER = -127, 127
_SCALE_BITS, _GLOBAL_BITS = 8, 32


@dataclass(frozen=True)
class PowerBlocks:
    """Blocks of 32 small floats, times a power of two (OCP Microscaling Formats 1.0)."""

    block: ClassVar[int] = 32
    element: Element
    exponent: Exponent = "round"

    @property
    def name(self) -> str:
        """How it is written down: `e2m1 in blocks of 32 (round)`."""
        return f"{self.element} in blocks of {self.block} ({self.exponent})"

    @property
    def bits(self) -> float:
        """A number, its part of the scale included."""
        return SMALL_FLOATS[self.element].bits + _SCALE_BITS / self.block

    def round_(self, numbers: Tensor, largest: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """`[..., n]` (float32) to what is read back, in place; n is a multiple of the block."""
        blocks = numbers.unflatten(-1, (-1, self.block))
        element = SMALL_FLOATS[self.element]
        tops = blocks.abs().amax(-1, keepdim=True)
        if self.exponent == "ceil":
            fraction, power = torch.frexp(tops / element.largest)
            power = power - (fraction == 0.5).to(power.dtype)
        else:
            # A fraction of frexp is half of what stands before the power within a number.
            fraction, power = torch.frexp(tops)
            power = power - 1 - element.power
            if self.exponent == "round":
                power = power + (fraction >= element.turn / 2).to(power.dtype)
        power = power.clamp(_LEAST_POWER, _LARGEST_POWER).float()
        element.round_(blocks.mul_(torch.exp2(-power))).mul_(torch.exp2(power))
        return numbers


@dataclass(frozen=True)
class ScaledBlocks:
    """Blocks of 16 numbers of e2m1, times a scale of e4m3, over one scale for all in float32: the
    arithmetic of compressed-tensors 0.20."""

    block: ClassVar[int] = 16
    name: ClassVar[str] = "nvfp4"

    def bits(self, numbers: int) -> float:
        """A number, its part of the scales included, where so many share the one for all."""
        return SMALL_FLOATS["e2m1"].bits + _SCALE_BITS / self.block + _GLOBAL_BITS / numbers

    def round_(self, numbers: Tensor, largest: Tensor | None = None) -> Tensor:
        """`[..., n]` (float32) to what is read back, in place; n is a multiple of the block.

        `largest` broadcasts against the numbers: the magnitude whose block has the largest scale.
        None: each vector's own."""
        element, scale = SMALL_FLOATS["e2m1"], SMALL_FLOATS["e4m3"]
        if largest is None:
            largest = numbers.abs().amax(-1, keepdim=True)
        blocks = numbers.unflatten(-1, (-1, self.block))
        # Nothing but zeros, or too little to divide by: any scale rounds it to 0.
        whole = scale.largest * element.largest / largest.clamp(min=torch.finfo(torch.float32).tiny)
        whole = whole.masked_fill(whole.isinf(), 1.0).unsqueeze(-1)
        steps = scale.round_(whole * (blocks.abs().amax(-1, keepdim=True) / element.largest))
        steps = steps.masked_fill(steps == 0, 0.125) / whole
        element.round_(blocks.div_(steps)).mul_(steps)
        return numbers


def refuse_broken_blocks(what: str, name: str, weight: Tensor, block: int, instead: str) -> None:
    """Do these blocks divide the rows of the map of this name? ModelError where they do not."""
    if weight.shape[-1] % block:
        raise ModelError(
            f"{what}: blocks of {block} do not divide the {weight.shape[-1]} input columns of"
            f" {name}.",
            f"a multiple of {block}.",
            f"exclude=[{name}], or {instead}.",
        )
