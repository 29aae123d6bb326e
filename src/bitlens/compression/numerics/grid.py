"""Uniform quantization grids: a step times whole numbers."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bitlens.errors import ModelError

Convention = Literal["restricted", "full", "gptq"]
"""Of symmetric grids, with a = max |w| of the group:
`restricted`: step a / (2^(b-1) - 1), whole numbers of at most 2^(b-1) - 1 either side;
`full`: the same step, one more number below. Plain rounding never reaches it, since no weight
is beyond a; with a clip, or where a method moves weights after fitting, it does;
`gptq`: step 2a / (2^b - 1), numbers -2^(b-1) to 2^(b-1) - 1: finer, but +a falls off the end."""

Clip = Literal["none", "mse"]

_SCALE_BITS = 16
_CLIP_STEPS = 80
_CLIP_POWER = 2.4


@dataclass(frozen=True, eq=False)
class Levels:
    """The values each group may take: step * k for every whole k from low to high."""

    step: Tensor
    """One a group, broadcasting against the weights."""
    low: Tensor | int
    """Smallest k of a group: shape of `step`, or one number for all groups."""
    high: Tensor | int
    """Largest k of a group: shape of `step`, or one number for all groups."""

    def round_(self, weights: Tensor) -> Tensor:
        """Each weight becomes the nearest value of its group, in place; halves go to even k."""
        weights.div_(self.step).round_()
        # Two passes with one bound each take the vector path; `clamp_` with two tensors does not.
        return weights.clamp_min_(self.low).clamp_max_(self.high).mul_(self.step)


@dataclass(frozen=True)
class QuantizationGrid:
    """A number format: how the values of a group follow from its extremes."""

    bits: int
    symmetric: bool = True
    """False: from min to max, both widened to include 0, with a whole zero point (as GPTQ does)."""
    convention: Convention = "restricted"
    clip: Clip = "none"
    """`mse`: extremes shrunk together, in 80 steps of 1 %, to where sum |w - w^|^2.4 of the group
    is least (the search of GPTQ, Frantar et al. 2022, arXiv 2210.17323)."""

    def fit(self, weights: Tensor, dims: tuple[int, ...] = (-1,)) -> Levels:
        """Which values suit these weights? `dims` are the axes that share a step: the last of
        `[..., groups, group]` unless said otherwise. Weights are float32."""
        low, high = weights.amin(dims, keepdim=True), weights.amax(dims, keepdim=True)
        if self.symmetric:
            high = torch.maximum(-low, high)
            low = -high
        else:
            low.clamp_(max=0)
            high.clamp_(min=0)
        if self.clip == "mse":
            share = self._best_share(weights, low, high, dims)
            low, high = low * share, high * share
        return self._between(low, high)

    def bits_per_weight(self, weights_per_step: int) -> float:
        """What does a weight cost? Its code, and its part of a 16-bit scale and, where the grid
        is asymmetric, of a zero point of `bits` bits."""
        zero_bits = 0 if self.symmetric else self.bits
        return self.bits + (_SCALE_BITS + zero_bits) / weights_per_step

    def _between(self, low: Tensor, high: Tensor) -> Levels:
        intervals = 2**self.bits - 1
        half = 2 ** (self.bits - 1)
        if not self.symmetric:
            step = _usable((high - low) / intervals)
            zero = torch.round(-low / step)
            return Levels(step, -zero, intervals - zero)
        if self.convention == "gptq":
            return Levels(_usable(2 * high / intervals), -half, half - 1)
        lowest = -half if self.convention == "full" else 1 - half
        return Levels(_usable(high / (half - 1)), lowest, half - 1)

    def _best_share(
        self, weights: Tensor, low: Tensor, high: Tensor, dims: tuple[int, ...]
    ) -> Tensor:
        share = torch.ones_like(high)
        least = torch.full_like(high, torch.inf)
        rounded = torch.empty_like(weights)
        for percent in range(100, 100 - _CLIP_STEPS, -1):
            levels = self._between(low * (percent / 100), high * (percent / 100))
            error = levels.round_(rounded.copy_(weights)).sub_(weights).abs_().pow_(_CLIP_POWER)
            error = error.sum(dims, keepdim=True)
            share = torch.where(error < least, percent / 100, share)
            least = torch.minimum(error, least)
        return share


def grouped(method: str, name: str, weight: Tensor, group: int) -> Tensor:
    """`[..., out, in]` seen as `[..., out, groups, group]`; refused where the width of this map
    is no multiple of the group."""
    width = weight.shape[-1]
    if width % group:
        divisors = [size for size in range(2, width + 1) if width % size == 0]
        raise ModelError(
            f"{method}: group={group} does not divide the {width} input columns of {name}.",
            f"one of {', '.join(map(str, divisors))}.",
            f"group={min(divisors, key=lambda size: abs(size - group))}",
        )
    grouped: Tensor = weight.unflatten(-1, (-1, group))
    return grouped


def _usable(step: Tensor) -> Tensor:
    """A group of zeros, or of weights too small to divide, has no step: any rounds it to 0."""
    return torch.where(step == 0, 1, step)
