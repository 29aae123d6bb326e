"""Weights stored, and where it can be computed, in a smaller floating-point type."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, DataFree
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import ModelError
from bitlens.models.matrices import LinearMap
from bitlens.models.tensors import finite

_SPELLINGS = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
    "fp8": "float8_e4m3fn",
}


@COMPRESSIONS.register("cast")
@dataclass(frozen=True, kw_only=True)
class Cast(DataFree):
    """Weights rounded to the nearest value of another dtype, halves to even, without scales, and
    computed in it.

    bfloat16 and float16 round the arithmetic too: every activation, and of weights that are stored
    in the same 16 bits nothing else. float32 rounds no weight of 16 bits; it tells what computing
    in less does. For float8_e4m3fn only the weights are rounded: CPUs multiply no such matrices,
    so the twin computes as the reference does, and weights beyond its largest value, 448, become
    that.
    """

    name: ClassVar[str] = "cast"
    question: ClassVar[str] = "What does storing the weights in a smaller floating-point type do?"

    dtype: Literal["bfloat16", "float16", "float32", "float8_e4m3fn", "bf16", "fp16", "fp32", "fp8"]
    """Short spellings are replaced by the long ones."""

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "dtype", _SPELLINGS.get(self.dtype, self.dtype))

    @property
    def compute_dtype(self) -> torch.dtype | None:
        """The dtype itself where processors multiply in it."""
        return None if self._stored.itemsize == 1 else self._stored

    @property
    def _stored(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        """Round a matrix to the dtype. BitlensError where that makes infinities."""
        weight = working_copy(matrix)
        if self._stored == torch.float8_e4m3fn:
            # Whether torch makes NaN of what is out of range depends on its version.
            limit = torch.finfo(self._stored).max
            weight.clamp_(-limit, limit)
        weight.copy_(weight.to(self._stored))
        if not finite(weight):
            raise ModelError(
                f"{matrix.name} holds weights up to {matrix.weight.abs().max():.6g}.",
                f"at most {torch.finfo(self._stored).max:.6g}, the largest {self.dtype}.",
                f"cast:dtype=bfloat16, or exclude=[{matrix.name}].",
            )
        return CompressedMatrix(weight, 8.0 * self._stored.itemsize)
