"""Gram matrix: the products of every two sampled positions, and their sums over shards."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

STRIP = 256
"""Rows that are multiplied at a time, with those after them."""


@dataclass(frozen=True, eq=False)
class Gram:
    """Products of every two of `n` positions, centred; what is summed of one is summed once,
    whatever it is compared with."""

    products: Tensor
    """`[n, n]` float32, zero on the diagonal."""
    shard: np.ndarray
    """`[n]`."""

    @classmethod
    def of(cls, rows: Tensor, shard: np.ndarray) -> Self:
        """Of `[n, width]` activations."""
        # HSIC does not see a common shift; without it float32 products lose nothing to it.
        centred = rows - rows.mean(dim=0)
        products = centred.new_empty(len(rows), len(rows))
        for begin in range(0, len(rows), STRIP):
            end = begin + STRIP
            # Those before have met these already: the product of two is the same either way.
            strip = centred[begin:end] @ centred[begin:].T
            products[begin:end, begin:], products[end:, begin:end] = strip, strip[:, STRIP:].T
        return cls(products.fill_diagonal_(0).cpu(), shard)

    @cached_property
    def members(self) -> Tensor:
        """`[shards, n]` float32: 1 where a position is of a shard."""
        shards = np.arange(self.shard.max() + 1)
        return torch.from_numpy(self.shard == shards[:, None]).float()

    @cached_property
    def by_shard(self) -> np.ndarray:
        """`[shards, n]` float64: every column's sum over the positions of a shard."""
        return self._columns(self.products)

    @cached_property
    def blocks(self) -> np.ndarray:
        """`[shards, shards]` float64: the products of two shards summed."""
        return self._over_rows(self.by_shard)

    @cached_property
    def squares(self) -> np.ndarray:
        """`[shards, shards]` float64: their squares summed."""
        return self.blocks_with(self)

    def blocks_with(self, other: "Gram") -> np.ndarray:
        """`[shards, shards]` float64: the products of two shards times those of another matrix of
        the same positions, summed."""
        return self._over_rows(self._columns(self.products * other.products))

    def _columns(self, matrix: Tensor) -> np.ndarray:
        return (self.members @ matrix).double().numpy()

    def _over_rows(self, by_column: np.ndarray) -> np.ndarray:
        return np.asarray(by_column @ self.members.double().numpy().T)

    def rolled(self) -> "Gram":
        """Every position in the place of another."""
        return Gram(self.products.roll((1, 1), dims=(0, 1)), self.shard)
