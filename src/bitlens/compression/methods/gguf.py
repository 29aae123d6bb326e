"""llama.cpp's block formats, as its reference code quantizes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, DataFree
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import ModelError
from bitlens.models.matrices import LinearMap
from bitlens.models.tensors import finite


class BlockFormat(NamedTuple):
    """How a block format is laid out and rounds."""

    block: int
    """Consecutive weights of a row."""
    bytes: int
    """Of a block, its scale and, where it has one, its least weight included."""
    round_: Callable[[Tensor], None]
    """`[..., blocks, weight]` to what is read back, in place."""


@COMPRESSIONS.register("gguf")
@dataclass(frozen=True, kw_only=True)
class Gguf(DataFree):
    """llama.cpp's simple block formats, as its reference code quantizes them (ggml-quants.c):
    equal bit by bit to what the library gguf 0.19 quantizes and reads back.

    Scales are rounded to float16 after the codes were found. The K- and IQ-formats, for which
    there is no such code outside llama.cpp, are not made here.
    """

    name: ClassVar[str] = "gguf"
    question: ClassVar[str] = "What does storing weights in llama.cpp's block formats do?"

    type: Literal["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "tq1_0", "tq2_0", "mxfp4"]
    """`q4_0` and `q5_0` have a scale a block of 32, and the weight of largest magnitude as their
    lowest code; `q4_1` and `q5_1` a scale and a least weight; `q8_0` whole numbers to 127 either
    side. `tq1_0` and `tq2_0` are -1, 0 and 1 times a scale a block of 256, for models trained to
    be so. `mxfp4` has a power of two a block of 32 and the values 0, 1, 2, 3, 4, 6, 8 and 12."""

    def __post_init__(self) -> None:
        check(self)

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        """Round a matrix to the blocks. BitlensError where they do not divide its rows."""
        weight = working_copy(matrix)
        layout = _FORMATS[self.type]
        if weight.shape[-1] % layout.block:
            raise ModelError(
                f"gguf: the blocks of {layout.block} of {self.type} do not divide the"
                f" {weight.shape[-1]} input columns of {matrix.name}.",
                f"a multiple of {layout.block}.",
                f"gguf:type={self.type},exclude=[{matrix.name}], or rtn:bits=4.",
            )
        layout.round_(weight.unflatten(-1, (-1, layout.block)))
        if not finite(weight):
            raise ModelError(
                f"{matrix.name} holds weights up to {matrix.weight.abs().max():.6g}.",
                "weights whose scales a float16 can hold.",
                f"gguf:type=mxfp4, or exclude=[{matrix.name}].",
            )
        return CompressedMatrix(weight, 8 * layout.bytes / layout.block, group=layout.block)


def _from_largest(bits: int) -> Callable[[Tensor], None]:
    """The weight of largest magnitude, whatever its sign, is the lowest code."""
    low = -(2 ** (bits - 1))

    def round_(blocks: Tensor) -> None:
        step = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True)) / low
        codes = blocks.mul_(_inverse(step)).add_(0.5 - low).trunc_().clamp_(0, -2 * low - 1)
        codes.add_(low).mul_(_stored(step))

    return round_


def _between_extremes(bits: int) -> Callable[[Tensor], None]:
    """Equal steps from the least weight to the largest."""
    highest = 2**bits - 1

    def round_(blocks: Tensor) -> None:
        least = blocks.amin(-1, keepdim=True)
        step = (blocks.amax(-1, keepdim=True) - least) / highest
        codes = blocks.sub_(least).mul_(_inverse(step)).add_(0.5).trunc_().clamp_(0, highest)
        codes.mul_(_stored(step)).add_(_stored(least))

    return round_


def _symmetric(highest: int) -> Callable[[Tensor], None]:
    """Whole multiples of a step, halves away from zero; the largest magnitude is `highest`."""

    def round_(blocks: Tensor) -> None:
        step = blocks.abs().amax(-1, keepdim=True) / highest
        whole = blocks.mul_(_inverse(step)).trunc()
        torch.add(whole, blocks.sub_(whole).mul_(2).trunc_(), out=blocks).mul_(_stored(step))

    return round_


def _microscaling(blocks: Tensor) -> None:
    """Values of four bits times a power of two, halves towards zero (OCP Microscaling Formats
    1.0, section 5.2); what exceeds twelve times the power becomes that."""
    largest = blocks.abs().amax(-1, keepdim=True)
    power = torch.exp2((torch.log2(largest).floor() - 3).clamp(min=-126))
    values = torch.tensor([0.0, 1, 2, 3, 4, 6, 8, 12], device=blocks.device)
    codes = torch.bucketize((blocks / power).abs_(), (values[:-1] + values[1:]) / 2)
    torch.mul(values[codes].copysign_(blocks), power, out=blocks)


def _stored(scales: Tensor) -> Tensor:
    return scales.half().float()


def _inverse(step: Tensor) -> Tensor:
    """A step that is stored as 0 makes every code 0."""
    return torch.where(_stored(step) == 0, 0, 1 / step)


_FORMATS = {
    "q4_0": BlockFormat(32, 2 + 16, _from_largest(4)),
    "q4_1": BlockFormat(32, 2 + 2 + 16, _between_extremes(4)),
    "q5_0": BlockFormat(32, 2 + 20, _from_largest(5)),
    "q5_1": BlockFormat(32, 2 + 2 + 20, _between_extremes(5)),
    "q8_0": BlockFormat(32, 2 + 32, _symmetric(127)),
    "tq1_0": BlockFormat(256, 2 + 52, _symmetric(1)),
    "tq2_0": BlockFormat(256, 2 + 64, _symmetric(1)),
    "mxfp4": BlockFormat(32, 1 + 16, _microscaling),
}
