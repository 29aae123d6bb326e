"""Weights stored, and inputs multiplied, as scaled eight-bit floats."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics.eight_bit import round_
from bitlens.compression.numerics.grid import QuantizationGrid
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.compression.numerics.input_statistics import Statistic
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.models.matrices import LinearMap


@COMPRESSIONS.register("fp8")
@dataclass(frozen=True, kw_only=True)
class Fp8(Compression):
    """Eight-bit floats (Micikevicius et al. 2022, arXiv 2209.05433) as they are deployed: the
    largest magnitude of what shares a scale becomes the format's largest number, 448 or 57344,
    and the rest is rounded to nearest, halves to even. `cast` has the same dtype without scales.

    Scales are counted as 16 bits and kept in float32.
    """

    name: ClassVar[str] = "fp8"
    question: ClassVar[str] = (
        "What does storing weights, and multiplying inputs, as scaled eight-bit floats do?"
    )

    dtype: Literal["float8_e4m3fn", "float8_e5m2"] = "float8_e4m3fn"
    """Of weights and inputs: three bits after the point, or two and a wider range."""
    scope: Literal["row", "tensor"] = "row"
    """Which weights share a scale: an output row, or a whole matrix (of each expert)."""
    activations: Literal["token", "tensor", "none"] = "token"
    """Which inputs share a scale: those of a position, or all, by the largest that calibration
    met, beyond which they are clipped; `none`: inputs are not rounded."""

    def __post_init__(self) -> None:
        check(self)

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
        if self.activations == "token":
            return InputRounding(self.dtype)
        return InputRounding(self.dtype, largest=group.statistic("max_abs").amax(-1))

    def _rounded(self, matrix: LinearMap, activations: InputRounding | None) -> CompressedMatrix:
        weight = working_copy(matrix)
        dims = (-1,) if self.scope == "row" else (-2, -1)
        round_(weight, weight.abs().amax(dims, keepdim=True), self.dtype)
        bits = QuantizationGrid(8).bits_per_weight(math.prod(weight.shape[dim] for dim in dims))
        return CompressedMatrix(weight, bits, activations=activations)
