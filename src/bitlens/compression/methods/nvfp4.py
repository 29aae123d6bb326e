"""NVFP4: four-bit floats in blocks of 16, as Blackwell multiplies them."""

from dataclasses import dataclass
from typing import ClassVar

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, DataFree
from bitlens.compression.numerics.block_floats import ScaledBlocks, refuse_broken_blocks
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.models.matrices import LinearMap


@COMPRESSIONS.register("nvfp4")
@dataclass(frozen=True, kw_only=True)
class Nvfp4(DataFree):
    """Blocks of 16 weights of a row as floats of four bits (0, 1/2, 1, 3/2, 2, 3, 4, 6), times a
    scale of eight bits (e4m3), over one scale in float32 for the matrix, or for each expert, by
    which its largest block has the largest scale. Equal bit by bit to compressed-tensors 0.20.

    Queries, keys and values, and gate and up, have each a float32 scale of their own, where
    runtimes that fuse them share one.
    """

    name: ClassVar[str] = "nvfp4"
    question: ClassVar[str] = (
        "What does storing weights as four-bit floats do, 16 to a scale of eight bits?"
    )

    def __post_init__(self) -> None:
        check(self)

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        """Round a matrix. BitlensError where the blocks do not divide its rows."""
        weight = working_copy(matrix)
        blocks = ScaledBlocks()
        refuse_broken_blocks(self.name, matrix.name, weight, blocks.block, "rtn:bits=4")
        blocks.round_(weight, weight.abs().amax((-2, -1), keepdim=True))
        bits = blocks.bits(weight.shape[-2:].numel())
        return CompressedMatrix(weight, bits, group=blocks.block)
