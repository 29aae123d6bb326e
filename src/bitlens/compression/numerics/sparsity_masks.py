"""Masks of the weights that are kept, and the cut among all matrices of a model."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bitlens.compression.numerics.weights import working_copy
from bitlens.models.matrices import LinearMap

_MANY = 2**16
"""Weights from which on a sample says where to look."""
_STRIDE = 97
"""One weight in so many is in the sample; prime, so that it meets all columns."""


@dataclass(frozen=True)
class Cut:
    """Where pruning falls among all the maps of a model."""

    magnitude: float
    """Smaller weights are zeroed, and as many of this magnitude as are still needed."""
    zeros: dict[str, int]
    """How many weights of each map are zeroed."""


def cut(matrices: Callable[[], Iterable[LinearMap]], sparsity: float) -> Cut:
    """Where is the cut among all weights?

    Float32 magnitudes sort like their bits, so two histograms find it exactly, with one map
    in memory at a time: of the upper halves, and of the lower halves where the cut falls."""
    upper = torch.zeros(2**15, dtype=torch.int64)
    for matrix in matrices():
        upper += _histogram(_bits(matrix) >> 16, 2**15)
    wanted = round(sparsity * int(upper.sum()))
    half = _bin_of(upper, wanted)
    wanted -= int(upper[:half].sum())
    below, lower = {}, {}
    for matrix in matrices():
        bits = _bits(matrix)
        below[matrix.name] = int((bits >> 16 < half).sum())
        lower[matrix.name] = _histogram(bits[bits >> 16 == half] & 0xFFFF, 2**16).int()
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


def unstructured_mask(
    weights: Tensor, count: int, importance: Tensor | None = None, threshold: float | None = None
) -> tuple[Tensor, int]:
    """Zeros for the `count` smallest |w| times importance of each scope of `[scope, row, column]`,
    of equal ones those that come first, and ones for the rest; how many are kept in all?

    Weights that are zero already count, and where they are more than `count`, none is kept.
    `threshold` is the score of the last to go, sought within the scope where it is not given."""
    spare = _scores(weights, importance).contiguous()
    last = _smallest_(spare.flatten(1), count) if threshold is None else spare.new_tensor(threshold)
    last = last.view(-1, 1, 1)
    # A mask of floats in memory already at hand: masks of bools multiply five times as slowly.
    keep = _scores(weights, importance, out=spare).gt_(last)
    larger = keep.sum(-1).double().sum(-1)
    missing = weights[0].numel() - count - larger
    if importance is None:
        missing *= last.flatten() > 0
    if missing.any():
        tied = (_scores(weights, importance) == last).flatten(1)
        scope, place = tied.nonzero(as_tuple=True)
        after = torch.searchsorted(scope, scope, right=True) - torch.arange(len(scope)).to(scope)
        stays = after <= missing[scope]
        keep.flatten(1)[scope[stays], place[stays]] = 1
    return keep, int(larger.sum() + missing.sum())


def n_of_m_mask(weights: Tensor, n: int, m: int, importance: Tensor | None = None) -> Tensor:
    """Ones for the n largest |w| times importance of every m consecutive columns of
    `[..., row, column]`, of equal ones those that come last, and zeros for the rest."""
    scores = _scores(weights, importance).unflatten(-1, (-1, m))
    smallest = scores.argsort(dim=-1, stable=True)[..., : m - n]
    return torch.ones_like(scores).scatter_(-1, smallest, 0).flatten(-2)


def _scores(weights: Tensor, importance: Tensor | None, out: Tensor | None = None) -> Tensor:
    scores = torch.abs(weights, out=out)
    return scores if importance is None else scores.mul_(importance)


def _smallest_(scores: Tensor, count: int) -> Tensor:
    """The `count`-th smallest of each scope, `[scope, n]` to `[scope, 1]`; 0 for the zeroth.
    Leaves the scores in disorder."""
    if count == 0:
        return scores.new_zeros(len(scores), 1)
    if scores.device.type != "cpu":
        return scores.kthvalue(count, dim=-1, keepdim=True).values
    # numpy selects with vector instructions: ten times as fast as torch.
    values = scores.numpy()
    if values.shape[1] < _MANY:
        values.partition(count - 1, axis=-1)
        return scores[:, count - 1 : count].clone()
    return scores.new_tensor([[_smallest_of_many(scope, count)] for scope in values])


def _smallest_of_many(values: np.ndarray, count: int) -> float:
    """The `count`-th smallest of `[n]`: a sample says roughly where it is, and only what is there
    is partitioned (Floyd and Rivest 1975). Exact: where the sample misled, everything is."""
    sample = np.sort(values[::_STRIDE])
    middle, spread = count * len(sample) / len(values), 4 * math.sqrt(len(sample))
    first, last = math.floor(middle - spread), math.ceil(middle + spread)
    low = sample[first] if first >= 0 else 0
    high = sample[last] if last < len(sample) else np.inf
    rank = count - 1 - int(np.count_nonzero(values < low))
    near = values[(values >= low) & (values <= high)]
    if not 0 <= rank < len(near):
        rank, near = count - 1, values
    return float(np.partition(near, rank)[rank])


def _bits(matrix: LinearMap) -> Tensor:
    return working_copy(matrix).abs_().view(torch.int32).flatten()


def _histogram(values: Tensor, bins: int) -> Tensor:
    return torch.bincount(values, minlength=bins).cpu()


def _bin_of(histogram: Tensor, rank: int) -> int:
    """In which bin is the `rank`-th smallest value? Counted from one."""
    return int(torch.searchsorted(histogram.cumsum(0), rank))
