"""How what was read adds up: sums by shard, extremes by shard, sampled rows.

Tallies of different documents merge, in any order; that is what makes streaming, resuming and
intervals the same thing. Everything keeps its shard, so that a shard can be left out at the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass
class Rows:
    """A seeded sample of positions and what was read there.

    Which positions are sampled is decided for the whole corpus beforehand (the smallest hashes),
    so merging is putting side by side.
    """

    key: Tensor
    """`[n]` int64: the hash that chose the position; the order of the rows at the end."""
    shard: Tensor
    """`[n]` int64."""
    values: dict[str, Tensor]
    """`[n, ...]` each."""


@dataclass
class Tally:
    """Named arrays of one analysis at one site of one pair of streams."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    """`[shards, ...]` float64."""
    largest: dict[str, Tensor] = field(default_factory=dict)
    """`[shards]`; minus infinity where the shard has nothing."""
    rows: dict[str, list[Rows]] = field(default_factory=dict)
    """By name of the sample."""

    def add(self, other: "Tally") -> None:
        """Merge another tally into this one; the other is left as it was."""
        for name, value in other.sums.items():
            mine = self.sums.get(name)
            self.sums[name] = value.clone() if mine is None else mine.add_(value)
        for name, value in other.largest.items():
            mine = self.largest.get(name)
            self.largest[name] = value.clone() if mine is None else torch.maximum(mine, value)
        for name, rows in other.rows.items():
            self.rows.setdefault(name, []).extend(rows)

    def tensors(self) -> dict[str, Tensor]:
        """As named tensors, for a safetensors file."""
        out = {f"sum/{k}": v for k, v in self.sums.items()}
        out |= {f"largest/{k}": v for k, v in self.largest.items()}
        for name in self.rows:
            rows = self.sample(name)
            out |= {f"rows/{name}/key": rows.key, f"rows/{name}/shard": rows.shard}
            out |= {f"rows/{name}/values/{k}": v for k, v in rows.values.items()}
        return {k: v.contiguous().cpu() for k, v in out.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Tally":
        """The inverse of `tensors`."""
        tally = cls()
        for key, value in sorted(tensors.items()):
            kind, _, rest = key.partition("/")
            if kind == "sum":
                tally.sums[rest] = value
            elif kind == "largest":
                tally.largest[rest] = value
            elif rest.endswith("/key"):
                name = rest.removesuffix("/key")
                prefix = f"rows/{name}/values/"
                values = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
                tally.rows[name] = [Rows(value, tensors[f"rows/{name}/shard"], values)]
        return tally

    def sample(self, name: str) -> Rows:
        """All rows of a sample in the order of their keys, whatever order they came in."""
        parts = self.rows[name]
        key = torch.cat([p.key for p in parts])
        order = torch.argsort(key, stable=True)
        return Rows(
            key[order],
            torch.cat([p.shard for p in parts])[order],
            {k: torch.cat([p.values[k] for p in parts])[order] for k in parts[0].values},
        )

    def totals(self, weights: np.ndarray) -> "Totals":
        """The tally under each replicate's weights, in numpy."""
        return Totals(self, weights)


class Totals:
    """A complete tally seen through replicate weights `[replicates + 1, shards]`; row 0 is all
    ones: the value itself. What analyses finish with; numpy from here on."""

    def __init__(self, tally: Tally, weights: np.ndarray) -> None:
        self._tally = tally
        self.weights = weights

    def sum(self, name: str) -> np.ndarray:
        """`[replicates + 1, ...]`."""
        by_shard = self._tally.sums[name].cpu().numpy()
        return np.tensordot(self.weights, by_shard, axes=1)

    def largest(self, name: str) -> float:
        return float(self._tally.largest[name].max())

    def rows(self, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]] | None:
        """Shard `[n]` and values `[n, ...]` of a sample; None when nothing was sampled."""
        if name not in self._tally.rows:
            return None
        rows = self._tally.sample(name)
        return rows.shard.cpu().numpy(), {k: v.cpu().numpy() for k, v in rows.values.items()}
