"""Floats of four, six and eight bits, which are rounded to and clipped at their largest."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Element = Literal["e2m1", "e2m3", "e3m2", "e4m3", "e5m2"]
"""How many bits of exponent, and how many after the point; one more is the sign."""

_EXPONENT_BITS = 0x7F800000
"""Of a float32."""


@dataclass(frozen=True, kw_only=True)
class SmallFloat:
    """The numbers of a format without infinities (OCP Microscaling Formats 1.0, section 5.3)."""

    bits: int
    digits: int
    """Bits after the point."""
    least: int
    """The power of two of its least normal number; below, steps stay the same."""
    largest: float
    power: int
    """That of two within `largest`."""
    turn: float
    """From here on, as a multiple of a power of two, the largest of a block is taken for the next
    power where scales are rounded: half way from the format's last digit to it; of e4m3 7/4, as
    compressed-tensors has it."""

    def round_(self, numbers: Tensor) -> Tensor:
        """Each number (float32) becomes the nearest, in place; halves go to even."""
        numbers.clamp_(-self.largest, self.largest)
        powers = (numbers.view(torch.int32) & _EXPONENT_BITS).view(torch.float32)
        step = powers.clamp_(min=2.0**self.least).mul_(2.0**-self.digits)
        return numbers.div_(step).round_().mul_(step)


SMALL_FLOATS: dict[Element, SmallFloat] = {
    "e2m1": SmallFloat(bits=4, digits=1, least=0, largest=6.0, power=2, turn=1.75),
    "e2m3": SmallFloat(bits=6, digits=3, least=0, largest=7.5, power=2, turn=1.9375),
    "e3m2": SmallFloat(bits=6, digits=2, least=-2, largest=28.0, power=4, turn=1.875),
    "e4m3": SmallFloat(bits=8, digits=3, least=-6, largest=448.0, power=8, turn=1.75),
    "e5m2": SmallFloat(bits=8, digits=2, least=-14, largest=57344.0, power=15, turn=1.875),
}
