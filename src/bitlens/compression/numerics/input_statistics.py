"""Statistics of what the matrices of one group are multiplied with."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Statistic = Literal["second_moment", "mean_square", "max_abs", "mean_abs"]


@dataclass(frozen=True, eq=False, kw_only=True)
class InputStatistics:
    """Statistics over calibration positions of what maps that read the same input are multiplied
    with; float32, on the maps' device.

    For fused experts everything has a leading axis of experts and is over the tokens routed to
    each. Only the statistics that the compression needs are there.
    """

    count: Tensor
    """`[]` or `[expert]`: positions."""
    second_moment: Tensor | None = None
    """`[..., in, in]`: mean of x xᵀ, neither centred nor damped."""
    mean_square: Tensor | None = None
    """`[..., in]`: mean of x²."""
    max_abs: Tensor | None = None
    """`[..., in]`: largest |x|."""
    mean_abs: Tensor | None = None
    """`[..., in]`: mean of |x|."""


def never_active(sizes: Tensor, treated: str) -> str:
    """What should be said of input columns that calibration only saw at 0? Empty where there are
    none.

    `sizes` is `[..., in]`, a statistic that is 0 there and nowhere else; `treated`, what became
    of their weights. Experts whose inputs were all 0 are told apart."""
    silent = (sizes == 0).view(-1, sizes.shape[-1])
    unseen = silent.all(-1)
    columns, experts = int(silent[~unseen].sum()), int(unseen.sum())
    notes = {
        f"{columns} of {silent.numel()} input columns never active: {treated}": columns,
        f"{experts} of {len(silent)} inputs never active: not calibrated": experts,
    }
    return "; ".join(note for note, times in notes.items() if times)
