"""Formats that inputs are rounded to, by the names that they are written down by."""

from functools import cache
from typing import Protocol, get_args

from torch import Tensor

from bitlens.compression.numerics.block_floats import Exponent, PowerBlocks, ScaledBlocks
from bitlens.compression.numerics.eight_bit import BLOCK, EightBits, Format
from bitlens.compression.numerics.small_floats import SMALL_FLOATS


class NumberFormat(Protocol):
    """How vectors are stored: codes, and scales of their own or one that is given."""

    @property
    def name(self) -> str:
        """How it is written down, in words that can be read."""
        ...

    @property
    def block(self) -> int:
        """Neighbours that share a scale; 0: all of a vector."""
        ...

    def round_(self, numbers: Tensor, largest: Tensor | None = None) -> Tensor:
        """`[..., n]` (float32) to what is read back, in place. `largest`: the magnitude that
        scales are made for; None: each vector's own."""
        ...


@cache
def number_format(name: str) -> NumberFormat:
    """The format of this name. KeyError where there is none."""
    return _formats()[name]


@cache
def _formats() -> dict[str, NumberFormat]:
    formats: list[NumberFormat] = [ScaledBlocks()]
    formats += [EightBits(dtype, block) for dtype in get_args(Format) for block in (0, BLOCK)]
    formats += [PowerBlocks(e, rule) for e in SMALL_FLOATS for rule in get_args(Exponent)]
    return {form.name: form for form in formats}
