"""Matching of latents: which of two dictionaries are each other's counterparts.

Directions are unit rows, `[n, width]`. Cosines come in tiles of rows, so that all n x m of them
exist at once only where a full assignment needs them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

FULL = 8192
"""Up to so many latents a side all cosines are kept and assigned: half a gigabyte, ten seconds."""
CANDIDATES = 32
"""Beyond that, so many nearest latents of each, both ways, may become its counterpart,"""
LEAST = 0.5
"""if their cosine is at least this."""

_TILE_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Nearest:
    """Every latent's nearest one in the other dictionary."""

    of_first: Tensor
    """`[n]`: the cosine of each latent of the first with its nearest in the second."""
    second: Tensor
    """`[n]` int64: which one that is."""
    of_second: Tensor
    """`[m]`: the same the other way round."""
    first: Tensor
    """`[m]` int64."""

    def mutual(self) -> tuple[Tensor, Tensor]:
        """`[pairs]` int64 each: latents of the first, and of the second, that are each other's
        nearest."""
        here = torch.arange(len(self.second), device=self.second.device)
        both = self.first[self.second] == here
        return here[both], self.second[both]


@dataclass(frozen=True, eq=False)
class Matching:
    """Pairs of latents, no latent in more than one."""

    first: Tensor
    """`[pairs]` int64."""
    second: Tensor
    """`[pairs]` int64."""
    cosine: Tensor
    """`[pairs]`."""


def nearest(first: Tensor, second: Tensor) -> Nearest:
    """Which latent of the other dictionary is each one's nearest, both ways? `[n, width]` and
    `[m, width]`; every cosine is computed once."""
    of_first, its_second = [], []
    of_second = first.new_full((len(second),), -torch.inf)
    its_first = torch.zeros(len(second), dtype=torch.int64, device=first.device)
    for start, cosines in _tiles(first, second):
        value, index = cosines.max(dim=1)
        of_first.append(value)
        its_second.append(index)
        value, index = cosines.max(dim=0)
        closer = value > of_second
        of_second[closer], its_first[closer] = value[closer], index[closer] + start
    return Nearest(torch.cat(of_first), torch.cat(its_second), of_second, its_first)


def assign(first: Tensor, second: Tensor) -> Matching:
    """Which one-to-one matching has the largest sum of cosines? (Kuhn 1955, "Hungarian".)

    Up to `FULL` latents a side: of all matchings that leave none of the smaller dictionary out
    (Jonker and Volgenant's algorithm, as in scipy). Beyond: of all matchings of candidates, a
    latent's 32 nearest both ways with a cosine of at least 0.5, where any latent may stay alone.
    """
    if max(len(first), len(second)) <= FULL:
        cost = torch.matmul(first, second.T).neg_().double().cpu().numpy()
        row, column = map(torch.from_numpy, linear_sum_assignment(cost))
    else:
        row, column = _assign_candidates(first, second)
    row, column = row.to(first.device), column.to(first.device)
    return Matching(row, column, torch.linalg.vecdot(first[row], second[column]))


def _assign_candidates(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    there = _candidates(first, second)
    back = _candidates(second, first)
    pairs = torch.cat([there, back.flip(0)], dim=1).unique(dim=1)
    n, m = len(first), len(second)
    alone = torch.arange(n)
    cosine = torch.linalg.vecdot(first[pairs[0]], second[pairs[1]]).double().cpu()
    # A partner of its own for every row stands for none. Zero would be taken for no edge.
    cost = torch.cat([2 - cosine, torch.full((n,), 2.0, dtype=torch.float64)])
    rows = torch.cat([pairs[0].cpu(), alone])
    columns = torch.cat([pairs[1].cpu(), m + alone])
    graph = coo_array((cost.numpy(), (rows.numpy(), columns.numpy())), shape=(n, m + n)).tocsr()
    row, column = map(torch.from_numpy, min_weight_full_bipartite_matching(graph))
    matched = column < m
    return row[matched].long(), column[matched].long()


def _candidates(first: Tensor, second: Tensor) -> Tensor:
    """`[2, pairs]`: each latent of the first with its nearest ones in the second."""
    found = []
    most = min(CANDIDATES, len(second))
    for start, cosines in _tiles(first, second):
        least = cosines.new_full((len(cosines), 1), LEAST)
        crowded = (cosines >= LEAST).sum(dim=1) > most
        least[crowded] = cosines[crowded].topk(most, dim=1).values[:, -1:]
        row, column = (cosines >= least).nonzero(as_tuple=True)
        found.append(torch.stack([row + start, column]))
    return torch.cat(found, dim=1)


def _tiles(first: Tensor, second: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The cosines of some rows of the first with all of the second, and which row is first."""
    rows = max(1, _TILE_BYTES // (4 * len(second)))
    for start in range(0, len(first), rows):
        yield start, (first[start : start + rows] @ second.T).clamp_(-1, 1)
