"""NVFP4: four-bit floats in blocks of 16, as Blackwell multiplies them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics.block_floats import ScaledBlocks, refuse_broken_blocks
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.compression.numerics.input_statistics import Statistic
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.models.matrices import LinearMap


@COMPRESSIONS.register("nvfp4")
@dataclass(frozen=True, kw_only=True)
class Nvfp4(Compression):
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

    activations: Literal["none", "token", "tensor"] = "none"
    """Which inputs share a float32 scale, each 16 neighbours having one of eight bits besides:
    those of a position, or all, by the largest that calibration met; `none`: inputs are not
    rounded."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def statistics(self) -> frozenset[Statistic]:
        """The largest inputs, where one scale is fixed for all."""
        return frozenset({"max_abs"} if self.activations == "tensor" else ())

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Round every matrix; their inputs are rounded alike. BitlensError where the blocks do not
        divide its rows."""
        activations = None
        if self.activations != "none":
            fixed = self.activations == "tensor"
            largest = group.statistic("max_abs").amax(-1) if fixed else None
            activations = InputRounding(ScaledBlocks.name, largest=largest)
        return [self._rounded(matrix, activations) for matrix in group.matrices]

    def _rounded(self, matrix: LinearMap, activations: InputRounding | None) -> CompressedMatrix:
        weight = working_copy(matrix)
        blocks = ScaledBlocks()
        refuse_broken_blocks(self.name, matrix.name, weight, blocks.block, "rtn:bits=4")
        blocks.round_(weight, weight.abs().amax((-2, -1), keepdim=True))
        bits = blocks.bits(weight.shape[-2:].numel())
        return CompressedMatrix(weight, bits, group=blocks.block, activations=activations)
