"""Activations that are read of a run, once, however many twins and analyses use them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Annotated, Any, TypeVar

import torch
from torch import Tensor

from bitlens.engine.patterns import entropy, over_keys

T = TypeVar("T")
EVERYTHING = torch.iinfo(torch.int64).max
"""The largest key: the threshold of a sample of all positions."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Positions:
    """Which token positions the rows of activations are."""

    document: Tensor
    """`[n]` int64."""
    shard: Tensor
    """`[n]` int64: which replicate the document belongs to."""
    shards: int
    offset: Tensor
    """`[n]` position in the document."""
    target: Tensor
    """`[n]` the next token; -1 at the end of a window."""
    key: Tensor
    """`[n]` int64 hash of document and position."""
    token: Tensor
    """`[n]` the token there."""
    length: Tensor
    """`[n]` tokens in its window."""
    group: Tensor | None = None
    """`[n]` the first document of its document's group, itself for one in none; None where no
    document is in a group."""
    label: Tensor | None = None
    """`[n]` which of the labels of the corpus its document has; -1: none. None where
    the corpus has no labels."""
    mark: Tensor | None = None
    """`[n]` which of its document's marks it belongs to, counted from 0; -1: none. None
    where no document has marks."""

    def __len__(self) -> int:
        return int(self.key.shape[0])

    def some(self, rows: Tensor) -> "Positions":
        """The positions in these rows; `rows` indexes the first dimension of every column."""
        held = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "shards"}
        picked = {name: of[rows] for name, of in held.items() if of is not None}
        return replace(self, **picked)

    @cached_property
    def _members(self) -> Tensor:
        members = torch.zeros(self.shards, len(self), device=self.shard.device)
        return members.scatter_(0, self.shard[None], 1.0)

    def total(
        self, values: Annotated[Tensor, "positions *columns"]
    ) -> Annotated[Tensor, "shards *columns"]:
        """Sum over positions by shard: `[n]` or `[n, k]` to `[shards]` or `[shards, k]`, float64.

        Narrow values are summed in float64; a matrix as wide as the model in float32 within the
        batch (a product with the membership matrix, deterministic on every device) and in
        float64 between batches.
        """
        if values.ndim == 1 or values.shape[1] <= 64:
            return self._members.double() @ values.double()
        return (self._members @ values.float()).double()

    def largest(self, values: Annotated[Tensor, "positions"]) -> Annotated[Tensor, "shards"]:
        """Largest value by shard: `[n]` to `[shards]`; minus infinity where a shard is absent."""
        out = torch.full((self.shards,), -torch.inf, dtype=torch.float64, device=values.device)
        return out.scatter_reduce_(0, self.shard, values.double(), "amax")


@dataclass(frozen=True, eq=False)
class Activations:
    """One run's activations at one site and some positions."""

    values: Tensor
    """`[n, width]` float32; logits `[n, vocabulary]`, or `[n, blocks, vocabulary]` through a
    lens. Attention patterns stay whole, `[rows, heads, queries, keys]`: to pick their positions
    would cost more than to read them."""
    index: Tensor | None = None
    """`[n]`: of patterns, which of the flattened rows and queries the positions are."""
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    def once(self, name: Any, make: Callable[[], T]) -> T:
        """What is derived from these activations under this name: made the first time only,
        however many twins the reference is compared with."""
        if name not in self._made:
            self._made[name] = make()
        found: T = self._made[name]
        return found

    def at_positions(self, reduced: Tensor) -> Tensor:
        """Something of every head and query, `[rows, heads, queries]`, at the positions:
        `[n, heads]`."""
        assert self.index is not None
        return reduced.transpose(1, 2).flatten(0, 1)[self.index]

    @cached_property
    def square(self) -> Tensor:
        """`[n]`: squared length."""
        squares: Tensor = torch.linalg.vecdot(self.values, self.values)
        return squares

    @cached_property
    def mean(self) -> Tensor:
        """`[n]`: mean over dimensions."""
        return self.values.mean(dim=-1)

    @cached_property
    def log_probabilities(self) -> Tensor:
        """`[..., vocabulary]` of logits."""
        return torch.log_softmax(self.values, dim=-1)

    @cached_property
    def probabilities(self) -> Tensor:
        """`[..., vocabulary]` of logits."""
        return self.log_probabilities.exp()

    def divergence(self, other: "Activations") -> Tensor:
        """`[...]` of logits, nats: the KL divergence of these distributions from the other's."""
        terms = torch.sub(self.log_probabilities, other.log_probabilities, out=self.room)
        return terms.mul_(self.probabilities).sum(dim=-1)

    @cached_property
    def room(self) -> Tensor:
        """As large as the values, for what is worked out beside each twin: to ask the system for so
        much again and again takes longer than to compute with it."""
        return torch.empty_like(self.values)

    @cached_property
    def top(self) -> Tensor:
        """`[...]`: the most probable token."""
        return self.values.argmax(dim=-1)

    @cached_property
    def entropy(self) -> Tensor:
        """`[rows, heads, queries]` of patterns, in nats."""
        return over_keys(entropy, self.values)


@dataclass(frozen=True, eq=False, kw_only=True)
class ActivationPair:
    """Activations of two runs at one site and the same positions."""

    site: str
    item: str
    """`cumulative` (reference and twin), `local` (twin's block on the reference's input)."""
    reference: Activations
    twin: Activations
    positions: Positions
    threshold: Callable[[int], int]
    """A sample's size to the largest key that is in the sample of the whole corpus."""
    branches: Mapping[str, Tensor] = field(default_factory=dict)
    """What the analysis makes of branches, by `reference` or `twin` and the name of the
    intervention."""
    alone: Activations | None = None
    """Activations of the twin's block on the reference's input; None where that does not run."""
