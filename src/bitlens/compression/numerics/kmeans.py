"""K-means in one dimension, of all rows at once: a few values that stand best for many."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

_MOST_MOVES = 100
_MOST_TRADES = 8


@dataclass(frozen=True, eq=False)
class _Members:
    """The members of each row, sorted, so that a cluster is what lies between two places."""

    sorted: Tensor
    """`[row, member]`, rising."""
    mass: Tensor
    """`[row, member + 1]`: what the members before each place count, in float64."""
    moment: Tensor
    """`[row, member + 1]`: the sum of count times member before each place, in float64."""

    def of(self, rows: Tensor) -> "_Members":
        return _Members(self.sorted[rows], self.mass[rows], self.moment[rows])

    def edges(self, values: Tensor) -> Tensor:
        """Where the clusters around values `[row, value]` begin, and where the last ends."""
        inner = torch.searchsorted(self.sorted, middles(values))
        return pad(pad(inner, (1, 0)), (0, 1), value=self.sorted.shape[-1])

    def between(self, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """What the members from one place to another count, and their mean, NaN where none do."""
        mass = self.mass.gather(-1, end) - self.mass.gather(-1, start)
        return mass, (self.moment.gather(-1, end) - self.moment.gather(-1, start)) / mass


def means(rows: Tensor, counts: Tensor, number: int) -> Tensor:
    """The `number` values, rising, from which the members of each row `[row, member]` are nearest
    in the mean square, each counted so often: `[row, number]`.

    Lloyd's iteration from `_spread`; where it ends, and as long as that helps, two neighbours are
    traded for the halves of another cluster. Like every k-means it may end beside the best: of the
    best of ten starts of scikit-learn its squared error was 1.00 to 1.06 times, on average, in rows
    of 4,096 normal members that counted alike or very differently, and 1.01 to 1.22 times in rows
    of 768. One start of k-means++ was 1.01 to 1.16 times.
    """
    ordered, order = rows.sort(-1)
    counts = counts.gather(-1, order).double()
    members = _Members(
        ordered,
        pad(counts.cumsum(-1), (1, 0)),
        pad((counts * ordered).cumsum(-1), (1, 0)),
    )
    values = _settled(_spread(ordered, counts, number), members)
    left = torch.arange(len(rows), device=rows.device)
    for _ in range(_MOST_TRADES):
        better, traded = _traded(values[left], members.of(left))
        left = left[better]
        if not len(left):
            break
        values[left] = _settled(traded[better], members.of(left))
    return values


def middles(values: Tensor) -> Tensor:
    """Halfway between neighbours."""
    return (values[:, 1:] + values[:, :-1]) / 2


def _spread(ordered: Tensor, counts: Tensor, number: int) -> Tensor:
    """Values as dense as the cube root of the members, which is best for many values (Panter and
    Dite 1951): as many members to a gap as the mean of both ends counts, over its width."""
    gaps = (counts[:, 1:] * counts[:, :-1]) ** (1 / 6) * ordered.diff().double() ** (2 / 3)
    density = pad(gaps.cumsum(-1), (1, 0))
    shares = (torch.arange(number, device=ordered.device) + 0.5) / number
    return ordered.gather(-1, torch.searchsorted(density, density[:, -1:] * shares))


def _settled(values: Tensor, members: _Members) -> Tensor:
    """Lloyd's iteration: each value the mean of its cluster, until no member changes its own."""
    before = None
    for _ in range(_MOST_MOVES):
        edges = members.edges(values)
        if before is not None and torch.equal(edges, before):
            break
        before = edges
        mass, mean = members.between(edges[:, :-1], edges[:, 1:])
        values = torch.where(mass > 0, mean.float(), values)
    return values


def _traded(values: Tensor, members: _Members) -> tuple[Tensor, Tensor]:
    """Of each row, whether it pays to make one of two neighbouring clusters and two of another,
    cut at its mean; and its values after that."""
    edges = members.edges(values)
    start, end = edges[:, :-1], edges[:, 1:]
    mass, _ = members.between(start, end)
    cut = torch.searchsorted(members.sorted, values).clamp(start, end)
    (below, low), (above, high) = members.between(start, cut), members.between(cut, end)
    gain = (below * above / mass * (high - low) ** 2).nan_to_num(0)
    gain, split = gain.max(-1, keepdim=True)
    share = (mass[:, 1:] / (mass[:, 1:] + mass[:, :-1])).nan_to_num(0.5)
    loss = mass[:, :-1] * share * values.diff() ** 2
    first = torch.arange(loss.shape[-1], device=loss.device)
    apart = (first != split) & (first + 1 != split)
    loss, pair = loss.where(apart, torch.inf).min(-1, keepdim=True)
    merged = torch.lerp(values[:, :-1].double(), values[:, 1:].double(), share).gather(-1, pair)
    traded = values.scatter(-1, pair, merged.float())
    traded = traded.scatter(-1, split, low.gather(-1, split).float())
    traded = traded.scatter(-1, pair + 1, high.gather(-1, split).float())
    # By more than rounding, or it might go back and forth.
    return (gain > 1.0001 * loss).squeeze(-1), traded.sort(-1).values
