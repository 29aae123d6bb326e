"""MXFP4, MXFP6 and MXFP8: small floats in blocks of 32 that share a power of two."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, DataFree
from bitlens.compression.numerics.block_floats import (
    Exponent,
    PowerBlocks,
    refuse_broken_blocks,
)
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.compression.numerics.small_floats import Element
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.models.matrices import LinearMap


@dataclass(frozen=True, kw_only=True)
class Microscaling(DataFree):
    """Blocks of 32 weights of a row as small floats, halves to even, times a power of two that
    takes eight bits (OCP Microscaling Formats 1.0)."""

    exponent: Exponent = "round"
    """How a block's power of two is found: `floor`, of its largest weight, of which up to a
    quarter is cut off (the standard, and llama.cpp); `round`, the same once that is rounded to the
    format's digits (compressed-tensors); `ceil`, the least that cuts nothing off (NVIDIA)."""

    activations: Literal["none", "block"] = "none"
    """`block`: inputs are rounded alike, 32 neighbours of a position to a power of two; `none`:
    inputs are not rounded."""

    def __post_init__(self) -> None:
        check(self)

    @property
    @abstractmethod
    def floats(self) -> Element:
        """The format of a weight."""

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        """Round a matrix. BitlensError where the blocks do not divide its rows."""
        weight = working_copy(matrix)
        blocks = PowerBlocks(self.floats, self.exponent)
        refuse_broken_blocks(self.name, matrix.name, weight, blocks.block, "rtn:bits=4")
        blocks.round_(weight)
        activations = None if self.activations == "none" else InputRounding(blocks.name)
        return CompressedMatrix(weight, blocks.bits, group=blocks.block, activations=activations)


@COMPRESSIONS.register("mxfp4")
@dataclass(frozen=True, kw_only=True)
class Mxfp4(Microscaling):
    """Blocks of 32 floats of four bits (0, 1/2, 1, 3/2, 2, 3, 4, 6) times a power of two (OCP
    Microscaling Formats 1.0), halves to even. Equal bit by bit to compressed-tensors 0.20;
    `gguf:type=mxfp4` is what llama.cpp makes, `exponent=floor` with halves towards zero."""

    name: ClassVar[str] = "mxfp4"
    question: ClassVar[str] = (
        "What does storing weights as four-bit floats do, 32 to a power of two?"
    )

    @property
    def floats(self) -> Element:
        """Two bits of exponent, one after the point."""
        return "e2m1"


@COMPRESSIONS.register("mxfp6")
@dataclass(frozen=True, kw_only=True)
class Mxfp6(Microscaling):
    """Blocks of 32 floats of six bits times a power of two (OCP Microscaling Formats 1.0), halves
    to even. Equal bit by bit to compressed-tensors 0.20 with `format=e2m3`, the one it has."""

    name: ClassVar[str] = "mxfp6"
    question: ClassVar[str] = (
        "What does storing weights as six-bit floats do, 32 to a power of two?"
    )

    format: Literal["e2m3", "e3m2"] = "e2m3"
    """Three bits after the point, up to 7.5; or two, and a wider range, up to 28."""

    @property
    def floats(self) -> Element:
        """As `format` says."""
        return self.format


@COMPRESSIONS.register("mxfp8")
@dataclass(frozen=True, kw_only=True)
class Mxfp8(Microscaling):
    """Blocks of 32 floats of eight bits times a power of two (OCP Microscaling Formats 1.0), halves
    to even. Equal bit by bit to compressed-tensors 0.20 with `format=e4m3`, the one it has."""

    name: ClassVar[str] = "mxfp8"
    question: ClassVar[str] = (
        "What does storing weights as eight-bit floats do, 32 to a power of two?"
    )

    format: Literal["e4m3", "e5m2"] = "e4m3"
    """Three bits after the point, up to 448; or two, and a wider range, up to 57344."""

    @property
    def floats(self) -> Element:
        """As `format` says."""
        return self.format
