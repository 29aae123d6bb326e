"""SparseGPT: which weights brain surgery zeroes, when those still to come make up for them."""

from torch import Tensor

from bitlens.compression.numerics import optimal_brain_surgeon as obs
from bitlens.compression.numerics.sparsity_masks import n_of_m_mask, unstructured_mask

_BLOCK = 128
"""Input columns among which the weights that go are sought, all rows together."""


def zero_(
    columns: Tensor, found: obs.Decomposition, share: float | None, pattern: tuple[int, int]
) -> None:
    """SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774): zero this share of every 128 input
    columns of `[expert, in, out]`, in place, or where there is none, all but n of every m columns
    of a row; columns still to come make up for it.

    Those go whose zeroing does the least harm once the later columns have made up for it, the
    least w² / U_jj² = w² d_j: chosen when the first of these columns is reached, from the weights
    as they then are."""
    roots = found.d.sqrt().unsqueeze(-1)
    n, m = pattern

    def begin(start: int, unit: Tensor) -> obs.Settle:
        harm = roots[:, start : start + unit.shape[1]]
        if share is None:
            keep = n_of_m_mask(unit.mT, n, m, harm.mT).mT
        else:
            keep, _ = unstructured_mask(unit, round(share * unit[0].numel()), harm)
        return lambda number, column: column.mul_(keep[:, number - start : number - start + 1])

    obs.settle_(columns, found.upper, m if share is None else _BLOCK, begin)
