"""How what was read adds up: sums by shard and by document, extremes by shard, sampled rows, the
k largest.

Accumulators of different documents merge, in any order; that is what makes streaming, resuming and
intervals the same thing. Everything keeps its shard, so that a shard can be left out at the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass
class SampledRows:
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
class Top:
    """The k largest values of each of many things (latents), and where they were."""

    values: Tensor
    """`[things, k]` float32, largest first; minus infinity where there were fewer."""
    places: dict[str, Tensor]
    """`[things, k]` int64 each: the `position`, the token there, ..."""

    def merge(self, other: "Top") -> "Top":
        """The k largest of both; of equal ones those of the first positions, so that it does
        not matter which was here first."""
        k = self.values.shape[1]
        values = torch.cat([self.values, other.values], dim=1)
        places = {n: torch.cat([p, other.places[n]], dim=1) for n, p in self.places.items()}
        by_position = torch.argsort(places["position"], dim=1)
        largest = torch.sort(values.gather(1, by_position), dim=1, descending=True, stable=True)
        order = by_position.gather(1, largest.indices[:, :k])
        return Top(values.gather(1, order), {n: p.gather(1, order) for n, p in places.items()})

    def clone(self) -> "Top":
        """A copy with its own tensors: the reference's are handed to every twin's accumulator."""
        return Top(self.values.clone(), {name: p.clone() for name, p in self.places.items()})


@dataclass
class DocumentSums:
    """Sums of each document that was met."""

    document: Tensor
    """`[n]` int64: each once, ascending."""
    shard: Tensor
    """`[n]` int64."""
    sums: dict[str, Tensor]
    """`[n]` or `[n, width]` float64 each."""

    @classmethod
    def of(cls, document: Tensor, shard: Tensor, columns: Mapping[str, Tensor]) -> "DocumentSums":
        """Of positions: `[positions]` or `[positions, width]` each."""
        found, first = np.unique(document.cpu().numpy(), return_index=True)
        known = torch.from_numpy(found).to(document.device)
        # A product and no scattered sum: the same digits on every device.
        members = (known[:, None] == document).double()
        sums = {name: members @ values.double() for name, values in columns.items()}
        return cls(known, shard[torch.from_numpy(first).to(shard.device)], sums)

    @classmethod
    def joined(cls, parts: Sequence["DocumentSums"]) -> "DocumentSums":
        """Of several, one after the other: a long document is in more than one."""
        document = np.concatenate([part.document.cpu().numpy() for part in parts])
        shard = np.concatenate([part.shard.cpu().numpy() for part in parts])
        known, first, at = np.unique(document, return_index=True, return_inverse=True)
        sums: dict[str, Tensor] = {}
        for name in parts[0].sums:
            values = np.concatenate([p.sums[name].cpu().numpy() for p in parts])
            total = np.zeros((len(known), *values.shape[1:]))
            np.add.at(total, at, values)
            sums[name] = torch.from_numpy(total)
        return cls(torch.from_numpy(known), torch.from_numpy(shard[first]), sums)


@dataclass(kw_only=True)
class Accumulator:
    """Named arrays of one analysis at one site of one pair of runs."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    """`[shards, ...]` float64."""
    largest: dict[str, Tensor] = field(default_factory=dict)
    """`[shards, ...]`; minus infinity, or the least possible, where the shard has nothing."""
    rows: dict[str, list[SampledRows]] = field(default_factory=dict)
    """By name of the sample."""
    top: dict[str, Top] = field(default_factory=dict)
    documents: dict[str, list[DocumentSums]] = field(default_factory=dict)
    """By name: parts that are put together when they are wanted."""

    def add(self, other: "Accumulator") -> None:
        """Merge another accumulator into this one; the other is left as it was."""
        for name, value in other.sums.items():
            mine = self.sums.get(name)
            self.sums[name] = value.clone() if mine is None else mine.add_(value)
        for name, value in other.largest.items():
            mine = self.largest.get(name)
            self.largest[name] = value.clone() if mine is None else torch.maximum(mine, value)
        for name, rows in other.rows.items():
            self.rows.setdefault(name, []).extend(rows)
        for name, top in other.top.items():
            own = self.top.get(name)
            self.top[name] = top.clone() if own is None else own.merge(top)
        for name, parts in other.documents.items():
            self.documents.setdefault(name, []).extend(parts)

    def tensors(self) -> dict[str, Tensor]:
        """All that it holds as named tensors, for a safetensors file."""
        out = {f"sum/{k}": v for k, v in self.sums.items()}
        out |= {f"largest/{k}": v for k, v in self.largest.items()}
        for name in self.rows:
            rows = self.sample(name)
            out |= {f"rows/{name}/key": rows.key, f"rows/{name}/shard": rows.shard}
            out |= {f"rows/{name}/values/{k}": v for k, v in rows.values.items()}
        for name, top in self.top.items():
            out[f"top/{name}/values"] = top.values
            out |= {f"top/{name}/places/{k}": v for k, v in top.places.items()}
        for name in self.documents:
            of = self.by_document(name)
            out |= {f"documents/{name}/document": of.document, f"documents/{name}/shard": of.shard}
            out |= {f"documents/{name}/sums/{k}": v for k, v in of.sums.items()}
        return {k: v.contiguous().cpu() for k, v in out.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Accumulator":
        """The inverse of `tensors`."""
        accumulator = cls()

        def below(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        for key, value in sorted(tensors.items()):
            kind, _, rest = key.partition("/")
            if kind == "sum":
                accumulator.sums[rest] = value
            elif kind == "largest":
                accumulator.largest[rest] = value
            elif kind == "top":
                if rest.endswith("/values"):
                    name = rest.removesuffix("/values")
                    prefix = f"top/{name}/places/"
                    places = {
                        k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)
                    }
                    accumulator.top[name] = Top(value, places)
            elif kind == "documents":
                if rest.endswith("/document"):
                    name = rest.removesuffix("/document")
                    shard = tensors[f"documents/{name}/shard"]
                    part = DocumentSums(value, shard, below(f"documents/{name}/sums/"))
                    accumulator.documents[name] = [part]
            elif rest.endswith("/key"):
                name = rest.removesuffix("/key")
                values = below(f"rows/{name}/values/")
                accumulator.rows[name] = [SampledRows(value, tensors[f"rows/{name}/shard"], values)]
        return accumulator

    def sample(self, name: str) -> SampledRows:
        """All rows of a sample in the order of their keys, whatever order they came in."""
        parts = self.rows[name]
        key = torch.cat([p.key for p in parts])
        order = torch.argsort(key, stable=True)
        return SampledRows(
            key[order],
            torch.cat([p.shard for p in parts])[order],
            {k: _stacked([p.values[k] for p in parts])[order] for k in parts[0].values},
        )

    def by_document(self, name: str) -> DocumentSums:
        """Sums of every document, whatever parts they came in."""
        return DocumentSums.joined(self.documents[name])

    def under(self, weights: np.ndarray) -> "ReplicateState":
        """The accumulator under each replicate's weights, in numpy."""
        return ReplicateState(self, weights)


class ReplicateState:
    """A complete accumulator seen through replicate weights `[replicates + 1, shards]`; row 0 is
    all ones: the value itself. What analyses finish with; numpy from here on."""

    def __init__(self, accumulator: Accumulator, weights: np.ndarray) -> None:
        self._accumulator = accumulator
        self.weights = weights

    def under(self, weights: np.ndarray) -> "ReplicateState":
        """This accumulator seen through other weights `[n, shards]`."""
        return ReplicateState(self._accumulator, weights)

    @property
    def finite(self) -> bool:
        """Whether everything that was summed is finite."""
        return all(bool(torch.isfinite(total).all()) for total in self._accumulator.sums.values())

    def has(self, name: str) -> bool:
        """Whether anything was summed under this name."""
        return name in self._accumulator.sums

    def sum(self, name: str, columns: np.ndarray | None = None) -> np.ndarray:
        """`[replicates + 1, ...]`, of some columns where they are named."""
        by_shard = self._accumulator.sums[name].cpu().numpy()
        chosen = by_shard if columns is None else by_shard[:, columns]
        return np.tensordot(self.weights, chosen, axes=1)

    def value(self, name: str) -> np.ndarray:
        """`[...]`: the sum over all shards."""
        return np.asarray(self._accumulator.sums[name].sum(dim=0).cpu().numpy())

    def top(self, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Values `[things, k]` and places `[things, k]` of the k largest."""
        top = self._accumulator.top[name]
        return top.values.cpu().numpy(), {k: v.cpu().numpy() for k, v in top.places.items()}

    def largest(self, name: str) -> float:
        """The largest value of all shards."""
        return float(self._accumulator.largest[name].max())

    def largest_of(self, name: str, shards: np.ndarray) -> np.ndarray:
        """`[...]`: the largest values in some of the shards."""
        return np.asarray(self._accumulator.largest[name].cpu().numpy()[shards].max(axis=0))

    def documents(self, name: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Number `[n]`, shard `[n]` and sums, `[n]` or `[n, width]`, of every document."""
        of = self._accumulator.by_document(name)
        return of.document.numpy(), of.shard.numpy(), {k: v.numpy() for k, v in of.sums.items()}

    def entries(self, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]] | None:
        """Key `[n]` and values `[n, ...]` of rows that were kept; None when none were."""
        if name not in self._accumulator.rows:
            return None
        rows = self._accumulator.sample(name)
        return rows.key.cpu().numpy(), {k: v.cpu().numpy() for k, v in rows.values.items()}

    def rows(self, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]] | None:
        """Shard `[n]` and values `[n, ...]` of a sample; None when nothing was sampled."""
        if name not in self._accumulator.rows:
            return None
        rows = self._accumulator.sample(name)
        return rows.shard.cpu().numpy(), {k: v.cpu().numpy() for k, v in rows.values.items()}


def _stacked(parts: list[Tensor]) -> Tensor:
    """Rows one under the other; narrower ones (patterns over fewer keys) are filled with zeros."""
    width = max(part.shape[-1] for part in parts) if parts[0].ndim > 1 else 0
    return torch.cat([pad(p, (0, width - p.shape[-1])) if width else p for p in parts])
