"""What is known of the vectors that the matrices of one group are multiplied with?"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Statistic = Literal["second", "square", "largest", "mean"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Statistics over calibration positions of what maps that read the same input are multiplied
    with; float32, on the maps' device.

    For fused experts everything has a leading axis of experts and is over the tokens routed to
    each. Only the statistics that the compression needs are there.
    """

    count: Tensor
    """`[]` or `[expert]`: positions."""
    second: Tensor | None = None
    """`[..., in, in]`: mean of x xᵀ, neither centred nor damped."""
    square: Tensor | None = None
    """`[..., in]`: mean of x²."""
    largest: Tensor | None = None
    """`[..., in]`: largest |x|."""
    mean: Tensor | None = None
    """`[..., in]`: mean of |x|."""
