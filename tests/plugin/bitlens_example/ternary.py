from dataclasses import dataclass
from typing import ClassVar

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, DataFree
from bitlens.models.matrices import LinearMap


@COMPRESSIONS.register("ternary")
@dataclass(frozen=True, kw_only=True)
class Ternary(DataFree):
    """Weights of -1, 0 and 1 with one scale a row (Li et al. 2016, arXiv 1605.04711)."""

    name: ClassVar[str] = "ternary"
    question: ClassVar[str] = "What is left of weights that are -1, 0 or 1?"

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        scale = 1.5 * matrix.weight.float().abs().mean(-1, keepdim=True)
        codes = (matrix.weight.float() / scale).round().clamp(-1, 1)
        return CompressedMatrix(codes * scale, bits=1.6 + 16 / codes.shape[-1])
