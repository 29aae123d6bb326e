"""Round to nearest: every weight to the nearest value of a uniform grid."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, DataFree
from bitlens.compression.numerics.grid import Clip, Convention, QuantizationGrid, grouped
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError, ModelError
from bitlens.models.matrices import LinearMap


@COMPRESSIONS.register("rtn")
@dataclass(frozen=True, kw_only=True)
class Rtn(DataFree):
    """Round to nearest, without data. Scales are counted as 16 bits and kept in float32."""

    name: ClassVar[str] = "rtn"
    question: ClassVar[str] = (
        "What does rounding every weight to the nearest value of a uniform grid do?"
    )

    bits: int
    """2 to 8."""
    group: int = 0
    """Consecutive input columns within a row that share a scale; 0: no groups."""
    symmetric: bool = True
    convention: Convention = "restricted"
    """What a symmetric grid makes of the largest weight; see `grid`."""
    scope: Literal["row", "tensor"] = "row"
    """What shares a scale where there are no groups: an output row, or a whole matrix (of each
    expert)."""
    axis: Literal["output", "input", "heads"] = "output"
    """`input` and `heads` are what tools get that reduce TransformerLens's tensors, which store
    x @ W with heads apart. `input`: over the last axis, which makes one scale an input column,
    and for queries, keys and values one a head and input column. `heads`: over every axis but
    the last, which makes one scale an output row, but for queries, keys and values one an index
    within the head, shared by all heads (Duan 2026, arXiv 2606.03002)."""
    clip: Clip = "none"

    def __post_init__(self) -> None:
        check(self)
        if not 2 <= self.bits <= 8:
            raise InputError(f"rtn: bits is {self.bits}.", "2 to 8.", "rtn:bits=4")
        if self.group < 0:
            raise InputError(
                f"rtn: group is {self.group}.",
                "a number of input columns, or 0 for no groups.",
                f"rtn:bits={self.bits},group=64",
            )
        if not self.symmetric and self.convention != "restricted":
            raise InputError(
                f"rtn: convention={self.convention} with symmetric=false.",
                "a convention for symmetric grids only: an asymmetric one has none.",
                f"rtn:bits={self.bits},symmetric=false",
            )
        if (self.group > 0) + (self.scope == "tensor") + (self.axis != "output") > 1:
            raise InputError(
                f"rtn: group={self.group}, scope={self.scope} and axis={self.axis} together.",
                "one of group, scope=tensor, axis=input and axis=heads: each says which weights"
                " share a scale.",
                f"rtn:bits={self.bits},group=64",
            )

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        """Round a matrix to its grid. BitlensError where scales cannot be shared as asked."""
        grid = QuantizationGrid(self.bits, self.symmetric, self.convention, self.clip)
        weight = working_copy(matrix)
        view, dims = self._sharing(matrix, weight)
        grid.fit(view, dims).round_(view)
        bits = grid.bits_per_weight(math.prod(view.shape[dim] for dim in dims))
        return CompressedMatrix(weight, bits, group=self.group)

    def _sharing(self, matrix: LinearMap, weight: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """A view of the weight, and those of its axes along which a scale is shared."""
        if self.group:
            return grouped(self.name, matrix.name, weight, self.group), (-1,)
        if self.scope == "tensor":
            return weight, (-2, -1)
        if self.axis == "output" or (self.axis == "heads" and matrix.head_size is None):
            return weight, (-1,)
        if matrix.head_size is None:
            return weight, (-2,)
        if self.axis == "input":
            return _by_rows(matrix, weight, -1, matrix.head_size), (-2,)
        if matrix.fused == "grouped":
            raise ModelError(
                f"rtn: axis=heads, but {matrix.name} holds queries, keys and values of different"
                " numbers of heads.",
                "a model that keeps them apart, or has as many keys and values as queries.",
                f"rtn:bits={self.bits}",
            )
        if matrix.fused == "interleaved":
            return _by_rows(matrix, weight, -1, 3, matrix.head_size), (-4, -1)
        parts = 3 if matrix.fused == "contiguous" else 1
        return _by_rows(matrix, weight, parts, -1, matrix.head_size), (-3, -1)


def _by_rows(matrix: LinearMap, weight: Tensor, *shape: int) -> Tensor:
    """The rows of the weight seen in this shape, in which one number may be left open."""
    rows = weight.shape[-2]
    if rows % math.prod(abs(size) for size in shape):
        raise ModelError(
            f"{matrix.name} has {rows} rows, which are no whole number of heads of "
            f"{matrix.head_size}.",
            "rows [heads, size], or three times as many where query, key and value are fused.",
            "rtn with axis=output, which needs no heads.",
        )
    tiles: Tensor = weight.unflatten(-2, shape)
    return tiles
