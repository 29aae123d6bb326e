"""Weights stored, and inputs multiplied, in eight bits: scaled floats, or whole numbers."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics.eight_bit import BLOCK, EightBits, Format, largest_of, round_
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.compression.numerics.input_statistics import Statistic
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.models.matrices import LinearMap

_SCALE_BITS = 16


@dataclass(frozen=True, kw_only=True)
class ScaledEightBits(Compression):
    """Weights and inputs in eight bits: the largest magnitude of what shares a scale becomes the
    format's largest number, and the rest is rounded to nearest, halves to even.

    Scales are counted as 16 bits and kept in float32.
    """

    scope: Literal["row", "tensor", "block"] = "row"
    """Which weights share a scale: an output row, a whole matrix (of each expert), or a tile of 128
    rows and 128 columns, at the edges less."""
    activations: Literal["token", "tensor", "block", "none"] = "token"
    """Which inputs share a scale: those of a position, 128 neighbours of it, or all, by the largest
    that calibration met, beyond which they are clipped; `none`: inputs are not rounded."""

    def __post_init__(self) -> None:
        check(self)

    @property
    @abstractmethod
    def format(self) -> Format:
        """Of weights and inputs."""

    @property
    def statistics(self) -> frozenset[Statistic]:
        """The largest inputs, where one scale is fixed for all."""
        return frozenset({"max_abs"} if self.activations == "tensor" else ())

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Round every matrix; their inputs are rounded alike."""
        activations = self._activations(group)
        return [self._rounded(matrix, activations) for matrix in group.matrices]

    def _activations(self, group: MatrixGroup) -> InputRounding | None:
        if self.activations == "none":
            return None
        if self.activations == "tensor":
            return InputRounding(self.format, largest=group.statistic("max_abs").amax(-1))
        block = BLOCK if self.activations == "block" else 0
        return InputRounding(EightBits(self.format, block).name)

    def _rounded(self, matrix: LinearMap, activations: InputRounding | None) -> CompressedMatrix:
        weight = working_copy(matrix)
        rows, columns = weight.shape[-2:]
        sides = {"row": (1, columns), "tensor": (rows, columns), "block": (BLOCK, BLOCK)}
        height, width = sides[self.scope]
        round_(weight, largest_of(weight, height, width), self.format)
        scales = -(-rows // height) * -(-columns // width)
        bits = 8 + _SCALE_BITS * scales / (rows * columns)
        group = BLOCK if self.scope == "block" and columns > BLOCK else 0
        return CompressedMatrix(weight, bits, group=group, activations=activations)


@COMPRESSIONS.register("fp8")
@dataclass(frozen=True, kw_only=True)
class Fp8(ScaledEightBits):
    """Eight-bit floats (Micikevicius et al. 2022, arXiv 2209.05433) as they are deployed: the
    largest magnitude of what shares a scale becomes the format's largest number, 448 or 57344,
    and the rest is rounded to nearest, halves to even. `cast` has the same dtype without scales;
    `scope=block,activations=block` is what DeepSeek-V3 is multiplied in.

    Scales are counted as 16 bits and kept in float32.
    """

    name: ClassVar[str] = "fp8"
    question: ClassVar[str] = (
        "What does storing weights, and multiplying inputs, as scaled eight-bit floats do?"
    )

    dtype: Literal["float8_e4m3fn", "float8_e5m2"] = "float8_e4m3fn"
    """Of weights and inputs: three bits after the point, or two and a wider range."""

    @property
    def format(self) -> Format:
        """As `dtype` says."""
        return self.dtype


@COMPRESSIONS.register("w8a8")
@dataclass(frozen=True, kw_only=True)
class W8a8(ScaledEightBits):
    """Weights and inputs as whole numbers from -127 to 127 times a scale, with nothing moved from
    inputs to weights first (`smoothquant`) and no outliers spared (`int8`). compressed-tensors'
    W8A8 has -128 too, and 127.5 steps to the largest.

    Scales are counted as 16 bits and kept in float32.
    """

    name: ClassVar[str] = "w8a8"
    question: ClassVar[str] = (
        "What does storing weights, and multiplying inputs, as whole numbers of eight bits do?"
    )

    @property
    def format(self) -> Format:
        """Whole numbers."""
        return "int8"
