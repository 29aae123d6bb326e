"""Optimal brain surgery: columns that are left make up for those rounded or zeroed before.

Optimal brain surgery: the output error tr((W - Ŵ) H (W - Ŵ)ᵀ), H the mean of x xᵀ, is to be small.
With H = (I + A) diag(d) (I + A)ᵀ, A strictly upper triangular, the error of a row is

    Σ_k d_k (ŵ_k - w_k - Σ_{j<k} (w_j - ŵ_j) A_jk)²

so columns are settled from first to last, and each is first moved to w_k + Σ_{j<k} (w_j - ŵ_j) A_jk
(LDLQ; Chee et al. 2023, arXiv 2307.13304, section 3). These are the numbers of GPTQ (Frantar et al.
2022, arXiv 2210.17323), which divides by and propagates with rows of U, H⁻¹ = UᵀU (Chee et al.,
section 5.1): U = diag(d)^-½ (I + A)⁻¹, so nothing need be inverted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.compression.numerics.input_statistics import never_active
from bitlens.compression.numerics.weights import working_copy
from bitlens.errors import InputError
from bitlens.models.matrices import LinearMap

_LEAF = 32
"""Columns that are settled one by one before what they leave is added to others at once."""
_LEAST_DAMPING = 1e-6
_MOST_DAMPING = 10.0
_WORKING_SET = 2**28
"""Bytes that the second moments worked on at a time may take: experts are taken in parts."""

Settle = Callable[[int, Tensor], object]
"""Gets how many columns came before, and the weights of this one, `[expert, 1, out]`; changes
them in place."""
Begin = Callable[[int, Tensor], Settle]
"""Gets how many columns came before, and the weights of a unit of them, `[expert, unit, out]`,
where these together make up best for those before; says how they are settled. Changes nothing."""


@dataclass(frozen=True, eq=False)
class Decomposition:
    """A decomposition of damped second moments H, columns in the order in which they are settled:
    H + damping * mean diagonal = upper diag(d) upperᵀ."""

    upper: Tensor
    """`[expert, in, in]`: I + A; ones on the diagonal and zeros below."""
    d: Tensor
    """`[expert, in]`: the error that moving a column by 1 makes once all later columns have made
    up for it; 1 / U_kk² of GPTQ."""
    damping: Tensor
    """`[expert]`: share of the mean diagonal that it took."""
    order: Tensor | None = None
    """`[expert, in]`: which column is settled first, second, ...; None: as they stand."""


def operate_(
    weights: Sequence[Tensor],
    second: Tensor,
    damping: float,
    work: Callable[[Tensor, Decomposition], None],
    largest_first: bool = False,
) -> str:
    """Hand weights, as `columns_of` gives them, to `work`, which changes them in place, with the
    decomposition of their inputs' second moments, `[..., in, in]`; what is there to say about it?

    Columns that were never active are made zero first. Experts are taken in parts that fit."""
    second = second.view(-1, *second.shape[-2:])
    dampings = []
    for experts in _parts(second):
        found = decompose(second[experts], damping, largest_first)
        for weight in weights:
            weight[experts].masked_fill_(dead(second[experts]).unsqueeze(-1), 0)
            work(weight[experts], found)
        dampings.append(found.damping)
    return _note(second, damping, torch.cat(dampings))


def decompose(second: Tensor, damping: float, largest_first: bool = False) -> Decomposition:
    """How does the error split over columns? `second` is `[expert, in, in]`, not damped.

    Where that share of the mean diagonal is too little for a Cholesky factor, ten times as much is
    taken, and so on. Columns that are never active get a diagonal of 1: they touch no other.
    ValueError where no damping helps: they are no second moments."""
    diagonal = second.diagonal(dim1=-2, dim2=-1)
    order = diagonal.argsort(dim=-1, descending=True, stable=True) if largest_first else None
    # Cholesky of the reversed matrix, reversed, is upper times lower.
    backwards = second.flip(-1, -2) if order is None else _reordered(second, order.flip(-1))
    own = backwards.diagonal(dim1=-2, dim2=-1)
    undamped = own + (own == 0)
    shares = torch.full_like(diagonal[:, 0], damping)
    while True:
        own.copy_(undamped + shares[:, None] * diagonal.mean(-1, keepdim=True))
        factor, failed = torch.linalg.cholesky_ex(backwards)
        if not failed.any():
            break
        shares = torch.where(failed > 0, (10 * shares).clamp_min(_LEAST_DAMPING), shares)
        if (shares > _MOST_DAMPING).any():
            raise ValueError("these are no second moments: no damping makes them positive definite")
    del backwards, own
    upper = factor.flip(-1, -2)
    roots = upper.diagonal(dim1=-2, dim2=-1).clone()
    return Decomposition(upper.div_(roots[:, None]), roots.square(), shares, order)


def dead(second: Tensor) -> Tensor:
    """`[expert, in]`: which input columns were never active, in experts that ever were?"""
    diagonal = second.diagonal(dim1=-2, dim2=-1)
    return (diagonal == 0) & (diagonal != 0).any(-1, keepdim=True)


def settle_(
    columns: Tensor, upper: Tensor, unit: int, begin: Begin, order: Tensor | None = None
) -> None:
    """Settle the columns of `[expert, in, out]` one after another, in place; `begin` is asked at
    the first of every `unit` columns.

    What settled columns leave is added to later ones in halves, and in halves of those, so that
    nearly all of the work is products of large matrices."""
    if order is not None:
        moved = columns[_experts(order), order]
        settle_(moved, upper, unit, begin)
        columns[_experts(order), order] = moved
        return
    differences = columns.clone()

    def together(start: int, stop: int) -> Tensor:
        # Each column was moved as if those between stayed. Not rounded yet, they move as well.
        original = differences[:, start:stop]
        unit, moves = upper[:, start:stop, start:stop], (columns[:, start:stop] - original).mT
        moves = torch.linalg.solve_triangular(
            unit, moves, upper=True, left=False, unitriangular=True
        )
        moved: Tensor = moves.mT.add_(original)
        return moved

    def descend(start: int, stop: int, settle: Settle | None) -> None:
        if settle is None and stop - start <= unit:
            settle = begin(start, together(start, stop) if start else columns[:, :stop])
        if settle is not None and stop - start <= _LEAF:
            _leaf_(columns, differences, upper, numbers=range(start, stop), settle=settle)
            return
        step = unit if settle is None else _LEAF
        middle = start - (start - stop) // (2 * step) * step
        descend(start, middle, settle)
        left = upper[:, start:middle, middle:stop].mT
        columns[:, middle:stop].baddbmm_(left, differences[:, start:middle])
        descend(middle, stop, settle)

    descend(0, columns.shape[1], None)


def columns_of(matrix: LinearMap) -> Tensor:
    """The weight as `[expert, in, out]`, float32 and free to be changed, one column after
    another in memory; a matrix that is no expert's stands alone."""
    weight = working_copy(matrix)
    return weight.view(-1, *weight.shape[-2:]).mT.contiguous()


def as_stored(columns: Tensor, matrix: LinearMap) -> Tensor:
    """Columns as `columns_of` gives them, in the shape of the map's weight."""
    return columns.mT.contiguous().view(matrix.weight.shape)


def check_damping(compression: str, damping: float) -> None:
    """Is it a share of the mean diagonal that may be added? InputError where it is not; for
    `__post_init__`."""
    if not 0 <= damping <= 1:
        raise InputError(
            f"{compression}: damping is {damping}.",
            "a share of the mean of x², from 0 to 1.",
            f"{compression} with damping=0.01",
        )


def _leaf_(
    columns: Tensor, differences: Tensor, upper: Tensor, numbers: range, settle: Settle
) -> None:
    start = numbers.start
    lower = upper[:, start : numbers.stop, start : numbers.stop].mT.contiguous()
    for place, number in enumerate(numbers):
        column = columns[:, number : number + 1]
        if place:
            earlier = differences[:, start:number]
            torch.baddbmm(column, lower[:, place : place + 1, :place], earlier, out=column)
        settle(number, column)
        differences[:, number : number + 1].sub_(column)


def _parts(second: Tensor) -> Iterator[slice]:
    experts = len(second)
    size = max(1, _WORKING_SET // (second[0].numel() * second.element_size()))
    yield from (slice(start, start + size) for start in range(0, experts, size))


def _reordered(second: Tensor, order: Tensor) -> Tensor:
    return second[_experts(order)[..., None], order[:, :, None], order[:, None, :]]


def _experts(order: Tensor) -> Tensor:
    return torch.arange(len(order), device=order.device)[:, None]


def _note(second: Tensor, damping: float, used: Tensor) -> str:
    """What should the user know? The damping that it took, and what was never active."""
    experts, raised = len(second), int((used != used.new_tensor(damping)).sum())
    among = f" in {raised} of {experts} experts" if experts > 1 else ""
    more = f"damping raised from {damping:g} to {used.max():.1g}{among}" if raised else ""
    silent = never_active(second.diagonal(dim1=-2, dim2=-1), "made zero")
    return "; ".join(filter(None, (more, silent)))
