"""llama.cpp's block formats, as its reference code quantizes."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, DataFree
from bitlens.compression.numerics.llama_blocks import LLAMA_BLOCKS
from bitlens.compression.numerics.llama_mixtures import FALL_BACK, mixed_type
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError, ModelError
from bitlens.models.matrices import LinearMap
from bitlens.models.tensors import finite

_Simple = Literal["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"]
_K = Literal["q2_k", "q3_k", "q4_k", "q5_k", "q6_k"]
_Other = Literal["tq1_0", "tq2_0", "mxfp4"]

_Mix = Literal["q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k"]


@COMPRESSIONS.register("gguf")
@dataclass(frozen=True, kw_only=True)
class Gguf(DataFree):
    """llama.cpp's block formats, as its reference code quantizes them (ggml-quants.c) without an
    importance matrix: equal bit by bit to what its own library makes. Every matrix in one type
    (`llama-quantize --pure`), or a mixture of types as files are usually made.

    Scales are rounded to float16 after the codes were found; in the K-formats the codes are found
    again with the rounded ones. The IQ-formats, which want an importance matrix, are not made here.
    """

    name: ClassVar[str] = "gguf"
    question: ClassVar[str] = "What does storing weights in llama.cpp's block formats do?"

    type: Literal[_Simple, _K, _Other] | None = None
    """`q4_0` and `q5_0` have a scale a block of 32, and the weight of largest magnitude as their
    lowest code; `q4_1` and `q5_1` a scale and a least weight; `q8_0` whole numbers to 127 either
    side. The K-formats have blocks of 256 in parts whose scales are codes themselves and are
    searched: parts of 32 with a least weight in `q4_k` and `q5_k`, of 16 with one in `q2_k`, of 16
    without in `q3_k` and `q6_k`. `tq1_0` and `tq2_0` are -1, 0 and 1 times a scale a block of 256,
    for models trained to be so. `mxfp4` has a power of two a block of 32 and the values 0, 1, 2, 3,
    4, 6, 8 and 12."""

    mix: _Mix | None = None
    """In place of `type`: the mixture of a file that llama-quantize makes under this name, in which
    some blocks' values and the MLP's last maps have more bits. As there, a matrix whose rows are no
    whole blocks of 256 is stored in the next larger type with blocks of 32. Embedding and
    unembedding, which a file has in it too, are taken where `include` names them."""

    def __post_init__(self) -> None:
        check(self)
        if (self.type is None) == (self.mix is None):
            raise InputError(
                f"gguf is given {'both type and' if self.type else 'neither type nor'} mix.",
                "one of them: every matrix in one type, or a mixture.",
                "gguf:type=q4_k, or gguf:mix=q4_k_m",
            )

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        """Round a matrix to the blocks. BitlensError where those of `type` do not divide its
        rows."""
        weight = working_copy(matrix)
        columns = weight.shape[-1]
        kind = self.type or mixed_type(str(self.mix), matrix)
        note = "" if self.mix is None else kind
        if kind == "f16":
            note += f": {columns} columns are no whole blocks"
            return CompressedMatrix(weight.half().float(), 16.0, note=note)
        layout = LLAMA_BLOCKS[kind]
        if columns % layout.block:
            shorter = FALL_BACK.get(kind)
            raise ModelError(
                f"gguf: the blocks of {layout.block} of {kind} do not divide the {columns} input"
                f" columns of {matrix.name}.",
                f"a multiple of {layout.block}.",
                f"gguf:type={kind},exclude=[{matrix.name}], or "
                + (f"gguf:type={shorter}, as llama.cpp does." if shorter else "rtn:bits=4."),
            )
        layout.round_(weight.unflatten(-1, (-1, layout.block)))
        if not finite(weight):
            raise ModelError(
                f"{matrix.name} holds weights up to {matrix.weight.abs().max():.6g}.",
                "weights whose scales a float16 can hold.",
                f"gguf:type=mxfp4, or exclude=[{matrix.name}].",
            )
        return CompressedMatrix(weight, layout.bits, group=layout.group, note=note)
