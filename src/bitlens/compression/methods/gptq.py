"""GPTQ: rounding column by column, when later columns make up for earlier ones."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics import optimal_brain_surgeon as obs
from bitlens.compression.numerics.grid import Clip, Convention, Levels, QuantizationGrid, grouped
from bitlens.compression.numerics.input_statistics import Statistic
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError


@COMPRESSIONS.register("gptq")
@dataclass(frozen=True, kw_only=True)
class Gptq(Compression):
    """GPTQ (Frantar et al. 2022, arXiv 2210.17323): columns are rounded from first to last, and
    those still to come make up for the error on the calibration inputs.

    The grid is that of rtn, so that the two differ in the algorithm alone. Scales of whole rows
    follow from the original weights; those of a group from its weights as they are when its first
    column is reached. (The original implementation leaves out what earlier columns of the same
    128 did to them.) Scales are counted as 16 bits and kept in float32. Input columns that were
    never active become zero.
    """

    name: ClassVar[str] = "gptq"
    question: ClassVar[str] = (
        "What does rounding column by column do, when later columns make up for earlier ones?"
    )

    bits: int
    """2 to 8."""
    group: int = 0
    """Consecutive input columns within a row that share a scale; 0: whole rows do."""
    symmetric: bool = True
    convention: Convention = "restricted"
    """What a symmetric grid makes of the largest weight; see `grid`."""
    clip: Clip = "none"
    damping: float = 0.01
    """Share of the mean of x² over columns that is added to that of each; ten times as much, and
    so on, where the second moments have no Cholesky factor otherwise."""
    act_order: bool = False
    """Columns with the largest x² first. Groups stay what they are, with scales that follow from
    the original weights (static groups)."""
    sequential: bool = True
    """Within a block too, each group of maps is calibrated on what the groups before it hand it
    once they are compressed (true-sequential)."""
    cholesky: bool = True
    """False: errors divided by and propagated with rows of the inverse of all second moments,
    where those of the columns still to come are due. Not GPTQ; some code of that name does it,
    and its published numbers cannot be explained without."""

    def __post_init__(self) -> None:
        check(self)
        if not 2 <= self.bits <= 8:
            raise InputError(f"gptq: bits is {self.bits}.", "2 to 8.", "gptq:bits=4")
        if self.group < 0:
            raise InputError(
                f"gptq: group is {self.group}.",
                "a number of input columns, or 0 for whole rows.",
                f"gptq:bits={self.bits},group=128",
            )
        if not self.symmetric and self.convention != "restricted":
            raise InputError(
                f"gptq: convention={self.convention} with symmetric=false.",
                "a convention for symmetric grids only: an asymmetric one has none.",
                f"gptq:bits={self.bits},symmetric=false",
            )
        obs.check_damping(self.name, self.damping)

    @property
    def statistics(self) -> frozenset[Statistic]:
        """The second moments of the inputs, which say how columns make up for each other."""
        return frozenset({"second_moment"})

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Round all matrices column by column, in one order."""
        matrices, second = group.matrices, group.statistic("second_moment")
        if self.group:
            for matrix in matrices:
                grouped(self.name, matrix.name, matrix.weight, self.group)
        weights = [obs.columns_of(matrix) for matrix in matrices]
        note = obs.operate_(
            weights, second, self.damping, self._round_, largest_first=self.act_order
        )
        return [
            CompressedMatrix(
                obs.as_stored(weight, matrix),
                self._grid.bits_per_weight(self.group or weight.shape[1]),
                group=self.group,
                note=note,
            )
            for matrix, weight in zip(matrices, weights, strict=True)
        ]

    @property
    def _grid(self) -> QuantizationGrid:
        return QuantizationGrid(self.bits, self.symmetric, self.convention, self.clip)

    def _round_(self, columns: Tensor, found: obs.Decomposition) -> None:
        upper = found.upper if self.cholesky else _never_updated(found)
        if self.group and found.order is not None:
            begin = self._static_groups(columns, found.order)
        else:
            begin = self._current
        moving = self.group if self.group and found.order is None else columns.shape[1]
        obs.settle_(columns, upper, moving, begin, order=found.order)

    def _current(self, _start: int, columns: Tensor) -> obs.Settle:
        levels = self._grid.fit(columns, (-2,))
        return lambda _number, column: levels.round_(column)

    def _static_groups(self, columns: Tensor, order: Tensor) -> obs.Begin:
        """Every column keeps the levels of the group it stands in, in whatever order they come."""
        levels = self._grid.fit(columns.unflatten(1, (-1, self.group)), (-2,))
        experts = torch.arange(len(order), device=order.device)

        def settle(number: int, column: Tensor) -> None:
            place = experts, order[:, number] // self.group
            low, high = (k if isinstance(k, int) else k[place] for k in (levels.low, levels.high))
            Levels(levels.step[place], low, high).round_(column)

        return lambda _start, _columns: settle


def _never_updated(found: obs.Decomposition) -> Tensor:
    """What `settle_` must be given so that columns move by rows of the inverse P of all second
    moments: the error of column j as it stood when it was rounded, times P_jk / P_jj, is taken
    from column k. With F = P_jk / P_jj for k >= j and 0 elsewhere, that is F⁻¹, since `settle_`
    counts differences from the original weights."""
    identity = torch.eye(found.d.shape[-1], dtype=found.d.dtype, device=found.d.device)
    inverse = torch.linalg.solve_triangular(found.upper, identity, upper=True, unitriangular=True)
    precision = (inverse / found.d[..., None]).mT @ inverse
    rows = precision.triu() / precision.diagonal(dim1=-2, dim2=-1)[..., None]
    updates: Tensor = torch.linalg.solve_triangular(rows, identity, upper=True, unitriangular=True)
    return updates
