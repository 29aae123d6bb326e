"""SmoothQuant: eight-bit products, with hard inputs made easier at the weights' cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics.eight_bit import round_
from bitlens.compression.numerics.grid import QuantizationGrid
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.compression.numerics.input_statistics import Statistic, never_active
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError

_SMALLEST = 1e-5


@COMPRESSIONS.register("smoothquant")
@dataclass(frozen=True, kw_only=True)
class SmoothQuant(Compression):
    """SmoothQuant (Xiao et al. 2022, arXiv 2211.10438): weights and inputs in int8, each input
    column c divided, and its weights multiplied, by

        s_c = max |x_c|^alpha / max |W_c|^(1 - alpha)

    (eq. 4), the weights' maximum being over the rows of all maps that read the input. A column
    that calibration saw only at 0 keeps s = 1, so that a first value there cannot drown the rest.

    Every group of maps is smoothed, where the original smooths those that follow a norm, into
    which s can be folded; s costs no bits here. Scales are counted as 16 bits and kept in float32.
    """

    name: ClassVar[str] = "smoothquant"
    question: ClassVar[str] = (
        "What does multiplying in eight bits do, hard inputs eased at the weights' cost?"
    )

    alpha: float = 0.5
    """How much of the difficulty moves to the weights: 0 to 1."""
    activations: Literal["token", "tensor"] = "token"
    """Which inputs share a scale: those of a position, or all, by the largest that calibration
    met, beyond which they are clipped."""
    scope: Literal["row", "tensor"] = "row"
    """Which weights share a scale: an output row, or a whole matrix (of each expert)."""

    def __post_init__(self) -> None:
        check(self)
        if not 0 <= self.alpha <= 1:
            raise InputError(
                f"smoothquant: alpha is {self.alpha}.", "0 to 1.", "smoothquant:alpha=0.5"
            )

    @property
    def statistics(self) -> frozenset[Statistic]:
        """The largest inputs of every column."""
        return frozenset({"max_abs"})

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Smooth all matrices by the same scales, and round each."""
        largest = group.statistic("max_abs")
        weights = [working_copy(matrix) for matrix in group.matrices]
        smooth = self._smooth(largest, weights)
        fixed = (largest / smooth).amax(-1) if self.activations == "tensor" else None
        activations = InputRounding("int8", smooth, fixed)
        note = never_active(largest, "not smoothed")
        return [self._rounded_(weight, activations, note) for weight in weights]

    def _smooth(self, largest: Tensor, weights: Sequence[Tensor]) -> Tensor:
        columns = torch.stack([weight.abs().amax(-2) for weight in weights]).amax(0)
        columns = columns.clamp_min(_SMALLEST)
        smooth = largest.pow(self.alpha) / columns.pow(1 - self.alpha)
        return torch.where(largest > 0, smooth.clamp_min(_SMALLEST), 1)

    def _rounded_(self, weight: Tensor, activations: InputRounding, note: str) -> CompressedMatrix:
        assert activations.smooth is not None
        smooth = activations.smooth.unsqueeze(-2)
        dims = (-1,) if self.scope == "row" else (-2, -1)
        weight.mul_(smooth)
        round_(weight, weight.abs().amax(dims, keepdim=True), "int8").div_(smooth)
        bits = QuantizationGrid(8).bits_per_weight(math.prod(weight.shape[dim] for dim in dims))
        return CompressedMatrix(weight, bits, note=note, activations=activations)
