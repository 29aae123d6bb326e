"""Keys and values as a quantized cache gives them back."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bitlens.compression.numerics.llama_blocks import LLAMA_BLOCKS

Grouping = Literal["channel", "token", "q8_0", "q4_0"]
_SCALE_BITS = 16


@dataclass(frozen=True, kw_only=True)
class CacheRounding:
    """Whole numbers between the least and the largest of a group, or llama.cpp's blocks."""

    key_groups: Grouping
    value_groups: Grouping
    bits: int
    group: int
    window: int
    sinks: int
    before_rotary: bool

    @property
    def number_bits(self) -> tuple[float, float]:
        """Bits of a number of the keys, and of the values, scales and least numbers included."""
        key, value = (self._bits(groups) for groups in (self.key_groups, self.value_groups))
        return key, value

    def keys(self, keys: Tensor) -> Tensor:
        """`[rows, heads, positions, size]` as they are read back. Groups of positions that are not
        complete stay as they are."""
        if self.key_groups != "channel":
            return self._by_token(keys, self.key_groups)
        back = keys.float().clone()
        whole = max(0, keys.shape[-2] - self.sinks) // self.group * self.group
        groups = back[..., self.sinks : self.sinks + whole, :].unflatten(-2, (-1, self.group))
        groups.copy_(_uniform(groups, -2, self.bits))
        return back.to(keys.dtype)

    def values(self, values: Tensor) -> Tensor:
        """`[rows, heads, positions, size]` as they are read back."""
        return self._by_token(values, self.value_groups)

    def where(self, positions: int, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """Which keys, and which values, each query reads back, `[positions, positions]`; None: all.

        A token is read back once it is `window` tokens old and is none of the `sinks` first; where
        keys of `group` tokens share a scale, once all of these are."""
        if not (self.window or self.sinks or self.key_groups == "channel"):
            return None
        query = torch.arange(positions, device=device).unsqueeze(-1)
        token = torch.arange(positions, device=device)
        counts = token >= self.sinks
        values = counts & (token <= query - self.window)
        if self.key_groups != "channel":
            return values, values
        end = self.sinks + ((token - self.sinks) // self.group + 1) * self.group
        return counts & (end <= query + 1 - self.window), values

    def broken(self, heads: int, size: int) -> str:
        """Which groups or blocks do not divide keys or values of so many heads and channels? In
        words; empty: none."""
        for groups in (self.key_groups, self.value_groups):
            if groups in LLAMA_BLOCKS and heads * size % LLAMA_BLOCKS[groups].block:
                return f"blocks of {LLAMA_BLOCKS[groups].block} of {groups} are asked for,"
            if groups == "token" and size % min(self.group, size):
                return f"groups of {self.group} channels are asked for,"
        return ""

    def _bits(self, groups: Grouping) -> float:
        if groups in LLAMA_BLOCKS:
            return LLAMA_BLOCKS[groups].bits
        return self.bits + 2 * _SCALE_BITS / self.group

    def _by_token(self, x: Tensor, groups: Grouping) -> Tensor:
        if groups in LLAMA_BLOCKS:
            # llama.cpp's rows are a token's heads side by side.
            rows = x.transpose(1, 2).flatten(2).float().clone()
            LLAMA_BLOCKS[groups].round_(rows.unflatten(-1, (-1, LLAMA_BLOCKS[groups].block)))
            return rows.view(x.shape[0], x.shape[2], x.shape[1], -1).transpose(1, 2).to(x.dtype)
        split = x.float().unflatten(-1, (-1, min(self.group, x.shape[-1])))
        back: Tensor = _uniform(split, -1, self.bits).flatten(-2).to(x.dtype)
        return back


def _uniform(numbers: Tensor, dim: int, bits: int) -> Tensor:
    """Whole numbers of steps above the least along a dimension, as KIVI has them (Liu et al. 2024,
    arXiv 2402.02750, eq. 1)."""
    least = numbers.amin(dim, keepdim=True)
    step = (numbers.amax(dim, keepdim=True) - least) / (2**bits - 1)
    codes: Tensor = ((numbers - least) / torch.where(step == 0, 1, step)).round_()
    back: Tensor = codes * step + least
    return back
