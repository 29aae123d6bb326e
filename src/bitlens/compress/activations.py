"""How is what a matrix is multiplied with rounded first?"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Activations:
    """The rounding of a map's inputs, as they would be on hardware that multiplies few bits.

    The rounded inputs are handed on as ordinary numbers, so that the product with the map's
    compressed weight is what the kernel would give.
    """

    format: Literal["int8", "fp8"]
    scope: Literal["token", "tensor"]
    """What shares a scale: each position's own vector, or everything, with a scale fixed in
    calibration (`step`)."""
    smooth: Tensor | None = None
    """`[in]`: inputs are divided by it before they are rounded and multiplied by it afterwards."""
    step: float | None = None
    """scope=tensor: the scale, fixed in calibration."""
    outliers: float | None = None
    """Columns in which any position of the call goes beyond this magnitude are not rounded."""

    def round(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """`[rows, positions, in]` to the same; a row is one call. `valid` `[rows, positions]` is
        False at padding, which decides nothing about the rest."""
        raise NotImplementedError
