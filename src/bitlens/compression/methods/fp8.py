"""What does storing weights, and multiplying inputs, as scaled eight-bit floats do?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression
from bitlens.compression.numerics.eight_bit import round_
from bitlens.compression.numerics.grid import QuantizationGrid
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.compression.numerics.input_statistics import InputStatistics, Statistic
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
        return frozenset({"largest"} if self.activations == "tensor" else ())

    def compress(
        self,
        maps: Sequence[LinearMap],
        seed: int,
        prepare: Any = None,
        inputs: InputStatistics | None = None,
    ) -> list[CompressedMatrix]:
        activations = self._activations(inputs)
        return [self._rounded(map, activations) for map in maps]

    def _activations(self, inputs: InputStatistics | None) -> InputRounding | None:
        if self.activations == "none":
            return None
        if self.activations == "token":
            return InputRounding(self.dtype)
        if inputs is None or inputs.largest is None:
            raise ValueError("fp8 with activations=tensor is calibrated on the largest inputs")
        return InputRounding(self.dtype, largest=inputs.largest.amax(-1))

    def _rounded(self, map: LinearMap, activations: InputRounding | None) -> CompressedMatrix:
        weight = working_copy(map)
        dims = (-1,) if self.scope == "row" else (-2, -1)
        round_(weight, weight.abs().amax(dims, keepdim=True), self.dtype)
        bits = QuantizationGrid(8).bits_per_weight(math.prod(weight.shape[dim] for dim in dims))
        return CompressedMatrix(weight, bits, activations=activations)
