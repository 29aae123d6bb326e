"""Activation quantization: how what a matrix is multiplied with is rounded first."""

from dataclasses import KW_ONLY, dataclass, replace

import torch
from torch import Tensor

from bitlens.compression.numerics.hadamard import HadamardRotation, hadamard
from bitlens.compression.numerics.number_formats import number_format


@dataclass(frozen=True, eq=False)
class InputRounding:
    """The rounding of a map's inputs, as they would be on hardware that multiplies few bits.

    The rounded inputs are handed on as ordinary numbers, so that the product with the map's
    compressed weight is what the kernel would give. For fused experts tensors may have a leading
    axis of experts; `expert` takes one.
    """

    format: str
    """The name of a format: what shares a scale is rounded by the largest magnitude in it."""
    smooth: Tensor | None = None
    """`[in]` or `[expert, in]`: inputs are divided by it before they are rounded and multiplied
    by it afterwards."""
    largest: Tensor | None = None
    """`[]` or `[expert]`: the magnitude, fixed in calibration, that all (divided) inputs share a
    scale for, and are clipped at; of nvfp4 the scale that blocks' own are relative to. None: each
    position has a scale of its own, from its vector, or each of its blocks."""
    outliers: float | None = None
    """Columns in which any position of the call is at least this large are not rounded; what is
    so large counts for no position's scale."""
    _: KW_ONLY
    rotation: str = ""
    """`hadamard`, or with a seed for its signs `hadamard 17`: how (divided) inputs are turned
    before they are rounded, and turned back afterwards; empty: not at all."""

    def expert(self, index: int) -> "InputRounding":
        """The rounding of one of the fused experts."""
        smooth, largest = self.smooth, self.largest
        return replace(
            self,
            smooth=smooth[index] if smooth is not None and smooth.ndim == 2 else smooth,
            largest=largest[index] if largest is not None and largest.ndim == 1 else largest,
        )

    def round(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """`[rows, positions, in]` to the same; a row is one call. `valid` `[rows, positions]` is
        False at padding, which decides nothing about the rest.

        Of `[n, in]`, tokens that were routed to an expert, each is a call of its own, as when text
        is generated: whom it meets there must not matter."""
        calls = x.to(torch.float32, copy=True)
        if x.ndim == 2:
            calls = calls.unsqueeze(-2)
        if self.smooth is not None:
            calls.div_(self.smooth)
        turned = self._turned(calls.shape[-1])
        if turned is not None:
            calls = turned.apply(calls)
        if self.outliers is None:
            self._round_(calls)
        else:
            calls = self._split(calls, valid, self.outliers)
        if turned is not None:
            calls = turned.undo(calls)
        if self.smooth is not None:
            calls.mul_(self.smooth)
        return calls.view(x.shape).to(x.dtype)

    @property
    def words(self) -> str:
        """How are inputs rounded? For the table of what was compressed."""
        blocks = self.format != "nvfp4" and number_format(self.format).block
        own = "a scale for each block" if blocks else "a scale for each position"
        scale = own if self.largest is None else "one scale for all"
        spared = "" if self.outliers is None else f", columns from {self.outliers:g} on spared"
        turned = ", in a rotated basis" if self.rotation else ""
        return f"inputs rounded to {self.format}, {scale}{spared}{turned}"

    def parts(self) -> tuple[dict[str, str | float], dict[str, Tensor]]:
        """What files hold of it: plain values, and tensors. Given back by name they make it again:
        `InputRounding(**values, **tensors)`."""
        values: dict[str, str | float] = {"format": self.format}
        if self.outliers is not None:
            values["outliers"] = self.outliers
        if self.rotation:
            values["rotation"] = self.rotation
        tensors = {"smooth": self.smooth, "largest": self.largest}
        return values, {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def _turned(self, size: int) -> HadamardRotation | None:
        if not self.rotation:
            return None
        _, _, seed = self.rotation.partition(" ")
        return hadamard(size, int(seed) if seed else None)

    def _round_(self, calls: Tensor) -> Tensor:
        return number_format(self.format).round_(calls, self.largest)

    def _split(self, calls: Tensor, valid: Tensor | None, threshold: float) -> Tensor:
        """Columns with outliers as they are, the others rounded."""
        beyond = calls.abs() >= threshold
        seen = beyond if valid is None else beyond & valid.unsqueeze(-1)
        rounded = self._round_(calls.masked_fill(beyond, 0))
        return torch.where(seen.any(-2, keepdim=True), calls, rounded)
