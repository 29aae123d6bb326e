"""What does setting the smallest weights to zero do?"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bitlens.compress.compression import COMPRESSIONS, Compressed, Compression, Map
from bitlens.compress.inputs import Inputs
from bitlens.compress.settings import check
from bitlens.compress.weights import working_copy
from bitlens.errors import BitlensError


@dataclass(frozen=True)
class Cut:
    """Where pruning falls among all the maps of a model."""

    magnitude: float
    """Smaller weights are zeroed, and as many of this magnitude as are still needed."""
    zeros: dict[str, int]
    """How many weights of each map are zeroed."""


@COMPRESSIONS.register("prune")
@dataclass(frozen=True, kw_only=True)
class Prune(Compression):
    """Magnitude pruning: the round(sparsity * n) smallest |w| of each scope become zero, of equal
    ones those that come first. Weights that were zero already count.

    Bits per weight: those of the reference's dtype for each weight that is not zero, and one of
    mask for every weight.
    """

    name: ClassVar[str] = "prune"

    sparsity: float
    """Share of the weights, above 0 and below 1."""
    scope: Literal["tensor", "row", "global"] = "tensor"
    """Among which weights the smallest are sought: a matrix (of each expert), an output row, or
    all matrices that are compressed."""

    def __post_init__(self) -> None:
        check(self)
        if not 0 < self.sparsity < 1:
            raise BitlensError(
                f"prune: sparsity is {self.sparsity}.",
                "a share above 0 and below 1.",
                "prune:sparsity=0.5",
            )

    def survey(self, maps: Callable[[], Iterable[Map]]) -> Cut | None:
        """Where is the cut among all weights? None unless the scope is global.

        Float32 magnitudes sort like their bits, so two histograms find it exactly, with one map
        in memory at a time: of the upper halves, and of the lower halves where the cut falls."""
        if self.scope != "global":
            return None
        upper = torch.zeros(2**15, dtype=torch.int64)
        for map in maps():
            upper += _histogram(_bits(map) >> 16, 2**15)
        wanted = round(self.sparsity * int(upper.sum()))
        half = _bin_of(upper, wanted)
        wanted -= int(upper[:half].sum())
        below, lower = {}, {}
        for map in maps():
            bits = _bits(map)
            below[map.name] = int((bits >> 16 < half).sum())
            lower[map.name] = _histogram(bits[bits >> 16 == half] & 0xFFFF, 2**16).int()
        together = torch.stack(list(lower.values())).sum(0)
        rest = _bin_of(together, wanted)
        wanted -= int(together[:rest].sum())
        zeros = {}
        for name, counts in lower.items():
            tied = min(wanted, int(counts[rest]))
            wanted -= tied
            zeros[name] = below[name] + int(counts[:rest].sum()) + tied
        magnitude = torch.tensor(half << 16 | rest, dtype=torch.int32).view(torch.float32)
        return Cut(magnitude.item(), zeros)

    def compress(
        self, maps: Sequence[Map], seed: int, survey: Any = None, inputs: Inputs | None = None
    ) -> list[Compressed]:
        return [self._pruned(map, survey) for map in maps]

    def _pruned(self, map: Map, cut: Cut | None) -> Compressed:
        weight = working_copy(map)
        rows, columns = weight.shape[-2:]
        if self.scope == "global":
            if cut is None:
                raise ValueError("prune with scope=global needs its survey")
            together = weight.view(1, -1, columns)
            left = _prune_(together, cut.zeros[map.name], cut.magnitude)
        else:
            together = weight.view(-1, rows if self.scope == "tensor" else 1, columns)
            left = _prune_(together, round(self.sparsity * together[0].numel()))
        stored = 8 * map.weight.element_size()
        return Compressed(weight, stored * left / weight.numel() + 1)


def _prune_(together: Tensor, count: int, magnitude: float | None = None) -> int:
    """Zero the `count` smallest of each scope of `[scope, row, column]`, in place; how many
    weights are left in all?

    `magnitude` is that of the last to go, sought within the scope where it is not given."""
    weights = together.flatten(1)
    spare = weights.abs()
    threshold = _smallest_(spare, count) if magnitude is None else magnitude
    # A mask of floats in memory already at hand: masks of bools multiply five times as slowly.
    keep = torch.abs(weights, out=spare).gt_(threshold)
    kept = keep.view(together.shape).sum(-1).double().sum(-1, keepdim=True)
    missing = (weights.shape[-1] - count - kept) * (threshold > 0)
    if missing.any():
        scope, place = (weights.abs() == threshold).nonzero(as_tuple=True)
        after = torch.searchsorted(scope, scope, right=True) - torch.arange(len(scope)).to(scope)
        stays = after <= missing[scope, 0]
        keep[scope[stays], place[stays]] = 1
    weights.mul_(keep)
    return int(kept.sum() + missing.sum())


def _smallest_(magnitudes: Tensor, count: int) -> Tensor:
    """The `count`-th smallest of each scope, `[scope, n]` to `[scope, 1]`; 0 for the zeroth.
    Leaves the magnitudes in disorder."""
    if count == 0:
        return magnitudes.new_zeros(len(magnitudes), 1)
    if magnitudes.device.type == "cpu":
        # numpy selects with vector instructions: ten times as fast as torch.
        magnitudes.numpy().partition(count - 1, axis=-1)
        return magnitudes[:, count - 1 : count].clone()
    return magnitudes.kthvalue(count, dim=-1, keepdim=True).values


def _bits(map: Map) -> Tensor:
    return working_copy(map).abs_().view(torch.int32).flatten()


def _histogram(values: Tensor, bins: int) -> Tensor:
    return torch.bincount(values, minlength=bins).cpu()


def _bin_of(histogram: Tensor, rank: int) -> int:
    """In which bin is the `rank`-th smallest value? Counted from one."""
    return int(torch.searchsorted(histogram.cumsum(0), rank))
