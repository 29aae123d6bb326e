"""How much of a difference is explained: by a shift, by the activation itself, by few directions
and by a dictionary; fitted on some documents, measured on others.

Every part is a squared error at every held-out position; its share of the difference's own square,
taken from 1, is what is explained: 1 is all of it, 0 what saying "no difference" explains.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.sae.sae import Sae

RIDGES = torch.logspace(-8, 2, 21, dtype=torch.float64)
"""Strengths of ridge regression that are tried, over the mean eigenvalue of the activations'
covariance."""
_ROWS = 8192
"""Summed in float64 at a time."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Moments:
    """Means and covariances of activations and differences that are learnt from, float64."""

    n: int
    mean_x: Tensor
    mean: Tensor
    """`[width]`: of the difference."""
    xx: Tensor
    xd: Tensor
    dd: Tensor
    """`[width, width]`: of the difference."""

    @classmethod
    def of(cls, x: Tensor, difference: Tensor) -> "Moments":
        """Of rows `[n, width]`."""
        n = len(x)
        mean_x, mean = (rows.mean(dim=0, dtype=torch.float64) for rows in (x, difference))
        xx, xd, dd = (x.new_zeros(x.shape[1], x.shape[1], dtype=torch.float64) for _ in range(3))
        for a, b in zip(x.split(_ROWS), difference.split(_ROWS), strict=True):
            a, b = a.double() - mean_x, b.double() - mean
            xx += a.T @ a
            xd += a.T @ b
            dd += b.T @ b
        return cls(n=n, mean_x=mean_x, mean=mean, xx=xx / n, xd=xd / n, dd=dd / n)

    def linear_map(self) -> Tensor:
        """`[width, width]`: the ridge regression of the difference on the activation whose strength
        generalised cross-validation chooses (Golub, Heath and Wahba 1979)."""
        values, vectors = torch.linalg.eigh(self.xx)
        values = values.clamp(min=0)
        turned = vectors.T @ self.xd
        if not float(values.sum()) > 0:
            return torch.zeros_like(self.xd)
        ridges = RIDGES.to(values) * values.mean()
        kept = values[:, None] / (values[:, None] + ridges)
        # Of what lies along each eigenvector, how much is fitted; what has no length fits nothing.
        fitted = turned.square().sum(dim=1)[:, None] / values.clamp(min=1e-300)[:, None]
        left = self.dd.trace() - (fitted * kept * (2 - kept)).sum(dim=0)
        free = 1 - (1 + kept.sum(dim=0)) / self.n
        # Of a map that uses up most of the positions, cross-validation knows nothing.
        scores = torch.where(free > 0.5, left.clamp(min=0) / free.square(), torch.inf)
        ridge = ridges[int(scores.argmin())]
        found: Tensor = vectors @ (turned / (values + ridge)[:, None])
        return found

    def directions(self, k: int) -> Tensor:
        """`[width, k]`: the k principal directions of the difference."""
        found: Tensor = torch.linalg.eigh(self.dd)[1].flip(1)[:, :k]
        return found

    def of_rank(self, linear: Tensor, k: int) -> Tensor:
        """The linear map of rank k that fits best: what it gives, on the k principal directions of
        that (reduced-rank regression, Izenman 1975)."""
        among = torch.linalg.eigh(linear.T @ self.xx @ linear)[1].flip(1)[:, :k]
        found: Tensor = linear @ among @ among.T
        return found


def errors(
    moments: Moments, x: Tensor, difference: Tensor, dictionary: Sae, k: int
) -> dict[str, Tensor]:
    """By what explains it, the squared error at held-out positions, `[n]` float64 each; `whole` is
    the difference's own square, `activation` the square of what differs from the mean activation
    that was learnt."""
    linear = moments.linear_map()
    few = moments.directions(k)
    low = moments.of_rank(linear, k)
    found: dict[str, list[Tensor]] = {}
    for a, b in zip(x.split(_ROWS), difference.split(_ROWS), strict=True):
        decoded = dictionary.decode(dictionary.codes(b))
        a, b = a.double() - moments.mean_x, b.double()
        moved = b - moments.mean
        left = {
            "whole": b,
            "activation": a,
            "mean": moved,
            "linear": moved - a @ linear,
            "linear_k": moved - a @ low,
            "directions": moved - moved @ few @ few.T,
            "dictionary": b - decoded.double(),
        }
        for name, rows in left.items():
            found.setdefault(name, []).append(rows.square().sum(dim=1))
    return {name: torch.cat(parts) for name, parts in found.items()}


def drawn_like(difference: Tensor, moments: Moments, draw: torch.Generator) -> Tensor:
    """Random differences: normal with the mean and covariance of those learnt from, each made as
    long as the one in its place, which keeps the second moments nearly. What a dictionary finds in
    them is what these and the lengths give, whatever the texts."""
    values, vectors = torch.linalg.eigh(moments.dd)
    root = (vectors * values.clamp(min=0).sqrt()).T.float()
    found = torch.empty_like(difference)
    for first in range(0, len(difference), _ROWS):
        part = difference[first : first + _ROWS]
        normal = torch.randn(part.shape, generator=draw).to(part.device)
        rows = normal @ root + moments.mean.float()
        length = rows.norm(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
        found[first : first + _ROWS] = rows * (part.norm(dim=1, keepdim=True) / length)
    return found
