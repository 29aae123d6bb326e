"""llama.cpp's block formats, as its reference code quantizes."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, DataFree
from bitlens.compression.numerics.llama_blocks import LLAMA_BLOCKS
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import ModelError
from bitlens.models.matrices import LinearMap
from bitlens.models.tensors import finite

_Simple = Literal["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"]
_K = Literal["q2_k", "q3_k", "q4_k", "q5_k", "q6_k"]
_Other = Literal["tq1_0", "tq2_0", "mxfp4"]

_FALL_BACK = {
    **dict.fromkeys(("q2_k", "q3_k", "tq1_0", "tq2_0"), "q4_0"),
    **{"q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0"},
}
"""Types with blocks of 256, and what llama.cpp takes in their place where those do not divide a
row (tensor_type_fallback)."""


@COMPRESSIONS.register("gguf")
@dataclass(frozen=True, kw_only=True)
class Gguf(DataFree):
    """llama.cpp's block formats, as its reference code quantizes them (ggml-quants.c) without an
    importance matrix: equal bit by bit to what its own library makes, every matrix in one type
    (`llama-quantize --pure`).

    Scales are rounded to float16 after the codes were found. The IQ-formats, which want an
    importance matrix, are not made here.
    """

    name: ClassVar[str] = "gguf"
    question: ClassVar[str] = "What does storing weights in llama.cpp's block formats do?"

    type: Literal[_Simple, _K, _Other]
    """`q4_0` and `q5_0` have a scale a block of 32, and the weight of largest magnitude as their
    lowest code; `q4_1` and `q5_1` a scale and a least weight; `q8_0` whole numbers to 127 either
    side. The K-formats have blocks of 256 in parts whose scales are codes themselves and are
    searched: parts of 32 with a least weight in `q4_k` and `q5_k`, of 16 with one in `q2_k`, of 16
    without in `q3_k` and `q6_k`. `tq1_0` and `tq2_0` are -1, 0 and 1 times a scale a block of 256,
    for models trained to be so. `mxfp4` has a power of two a block of 32 and the values 0, 1, 2, 3,
    4, 6, 8 and 12."""

    def __post_init__(self) -> None:
        check(self)

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        """Round a matrix to the blocks. BitlensError where they do not divide its rows."""
        weight = working_copy(matrix)
        layout = LLAMA_BLOCKS[self.type]
        if weight.shape[-1] % layout.block:
            raise ModelError(
                f"gguf: the blocks of {layout.block} of {self.type} do not divide the"
                f" {weight.shape[-1]} input columns of {matrix.name}.",
                f"a multiple of {layout.block}.",
                f"gguf:type={self.type},exclude=[{matrix.name}], or {_shorter(self.type)}.",
            )
        layout.round_(weight.unflatten(-1, (-1, layout.block)))
        if not finite(weight):
            raise ModelError(
                f"{matrix.name} holds weights up to {matrix.weight.abs().max():.6g}.",
                "weights whose scales a float16 can hold.",
                f"gguf:type=mxfp4, or exclude=[{matrix.name}].",
            )
        return CompressedMatrix(weight, layout.bits, group=layout.group)


def _shorter(kind: str) -> str:
    """What llama.cpp takes where rows are no whole blocks of this type."""
    return f"gguf:type={_FALL_BACK[kind]}" if kind in _FALL_BACK else "rtn:bits=4"
