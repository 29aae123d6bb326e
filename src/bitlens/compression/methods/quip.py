"""QuIP: rounding in a random basis, in which no weight and no input stands out."""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics import optimal_brain_surgeon as obs
from bitlens.compression.numerics.grid import Clip, QuantizationGrid
from bitlens.compression.numerics.input_statistics import Statistic
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError
from bitlens.models.matrices import LinearMap
from bitlens.seeds import derive


@dataclass(frozen=True, eq=False)
class Rotation:
    """A random orthogonal change of basis of n = p q numbers: a permutation, then the Kronecker
    product of two orthogonal matrices (Chee et al. 2023, section 4), which costs n (p + q)
    products where a full matrix costs n²."""

    order: Tensor
    """`[n]`: which number comes first, second, ..."""
    left: Tensor
    """`[p, p]`."""
    right: Tensor
    """`[q, q]`."""

    @classmethod
    def draw(cls, size: int, random: torch.Generator, device: torch.device) -> Self:
        """One of them, p and q as alike as they can be; drawn on the CPU, so that every device
        gets the same one."""
        p = next(p for p in range(math.isqrt(size), 0, -1) if size % p == 0)
        order = torch.randperm(size, generator=random)
        left, right = (
            nn.init.orthogonal_(torch.empty(n, n), generator=random) for n in (p, size // p)
        )
        return cls(order.to(device), left.to(device), right.to(device))

    def apply(self, x: Tensor) -> Tensor:
        """`[..., n]` in the new basis."""
        pairs = x[..., self.order].unflatten(-1, (len(self.left), len(self.right)))
        mixed: Tensor = (self.left @ pairs @ self.right.T).flatten(-2)
        return mixed

    def undo(self, x: Tensor) -> Tensor:
        """`[..., n]` of the new basis in the old one."""
        pairs = x.unflatten(-1, (len(self.left), len(self.right)))
        unmixed: Tensor = (self.left.T @ pairs @ self.right).flatten(-2)[..., self.order.argsort()]
        return unmixed


@COMPRESSIONS.register("quip")
@dataclass(frozen=True, kw_only=True)
class Quip(Compression):
    """QuIP (Chee et al. 2023, arXiv 2307.13304): inputs and outputs of a matrix are each put into
    a random basis, it is rounded there as gptq does it (LDLQ, of which the paper's section 5.1
    shows that it is GPTQ), and put back.

    The grid is gptq's, a scale for each row of the rotated matrix, so that the two differ in the
    basis alone. (The paper takes one range for the matrix, 2.4 times the root mean square: on
    Gaussian weights 1.4 times the error at 2 bits, and more at 8, since it cuts off the tails. It
    also scales columns first, which is left out.) The bases follow from the seed and cost no bits;
    an expert has those of its map.
    """

    name: ClassVar[str] = "quip"
    question: ClassVar[str] = (
        "What does rounding do in a random basis, in which no weight and no input stands out?"
    )

    bits: int
    """2 to 8."""
    symmetric: bool = False
    clip: Clip = "mse"
    damping: float = 0.01
    """Share of the mean of x² over columns that is added to that of each, as in gptq."""

    def __post_init__(self) -> None:
        check(self)
        if not 2 <= self.bits <= 8:
            raise InputError(f"quip: bits is {self.bits}.", "2 to 8.", "quip:bits=2")
        obs.check_damping(self.name, self.damping)

    @property
    def statistics(self) -> frozenset[Statistic]:
        """The second moments of the inputs, as for gptq."""
        return frozenset({"second_moment"})

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Rotate, round and rotate back each matrix."""
        second = group.statistic("second_moment")
        return [self._rounded(matrix, second, group.seed) for matrix in group.matrices]

    def _rounded(self, matrix: LinearMap, second: Tensor, seed: int) -> CompressedMatrix:
        random = torch.Generator().manual_seed(derive(seed, "quip", matrix.name))
        rows, width = matrix.weight.shape[-2:]
        inputs, outputs = (Rotation.draw(n, random, second.device) for n in (width, rows))
        columns = inputs.apply(outputs.apply(obs.columns_of(matrix)).mT).mT.contiguous()
        rotated = inputs.apply(inputs.apply(second).mT)
        note = obs.operate_([columns], rotated, self.damping, self._round_)
        columns = inputs.undo(outputs.undo(columns).mT).mT
        bits = self._grid.bits_per_weight(width)
        return CompressedMatrix(obs.as_stored(columns, matrix), bits, note=note)

    @property
    def _grid(self) -> QuantizationGrid:
        return QuantizationGrid(self.bits, self.symmetric, clip=self.clip)

    def _round_(self, columns: Tensor, found: obs.Decomposition) -> None:
        levels = self._grid.fit(columns, (-2,))
        obs.settle_(
            columns,
            found.upper,
            columns.shape[1],
            lambda _start, _unit: lambda _number, column: levels.round_(column),
        )
