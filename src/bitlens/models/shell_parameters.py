"""The parameters around a model's blocks, cast to the dtype they are computed in while they are."""

from collections.abc import Callable, Iterable, Mapping, Set
from functools import cached_property

import torch
from torch import Tensor, nn

from bitlens.models.compute import computed, of_logits

Weights = Mapping[str, Tensor]


class ShellParameters:
    """Parameters of a model without its blocks, in two sides: what runs before the first block,
    and what runs after the last.

    `compute` is the dtype the reference computes in, its leaving side in float32 at least; None:
    both in the one they are stored in. `entering` finds the names of the side before the blocks,
    and is asked once. What was cast is kept until the other side is asked for or all is released:
    never both, because an embedding and an unembedding of a large vocabulary are much of a model.
    """

    def __init__(
        self,
        module: nn.Module,
        stored: torch.dtype,
        compute: torch.dtype | None,
        entering: Callable[[], Set[str]],
    ) -> None:
        self._module = module
        self._stored = stored
        self._compute = compute
        self._find_entering = entering
        self.cast: dict[tuple[str, torch.dtype, int], Tensor] = {}
        """What is cast at present, by its first name, its dtype and whose it is."""

    @cached_property
    def named(self) -> dict[str, nn.Parameter]:
        """By every name that a parameter has."""
        return dict(self._module.named_parameters(remove_duplicate=False))

    @cached_property
    def _first_name(self) -> dict[int, str]:
        """Of tied parameters the name that stands for them all."""
        return {id(parameter): name for name, parameter in self._module.named_parameters()}

    @cached_property
    def _sides(self) -> tuple[Set[str], Set[str]]:
        entering = self._find_entering()
        return entering, self.named.keys() - entering

    def dtype(self, *, entering: bool) -> torch.dtype | None:
        """What the reference computes one side in; None: in what it is stored in."""
        return self._compute if entering or self._compute is None else of_logits(self._compute)

    def dressed(
        self, weights: Weights | None, dtype: torch.dtype | None, *, entering: bool
    ) -> dict[str, Tensor]:
        """The parameters of one side by name, as they are computed with: a twin's `weights` where
        it has its own, in its own `dtype` if it has one."""
        weights = weights or {}
        wanted = dtype or self.dtype(entering=entering)
        if wanted is None:
            return dict(weights)
        side = self._sides[0 if entering else 1]
        firsts = {name: self._first_name[id(self.named[name])] for name in side}
        # What another twin has cast of this side is still wanted; of the other side it is not.
        here = set(firsts.values())
        self.cast = {key: cast for key, cast in self.cast.items() if key[0] in here}
        return {
            name: self._as_computed(first, weights.get(first), wanted, exactly=dtype is not None)
            for name, first in firsts.items()
        }

    def _as_computed(
        self, name: str, own: Tensor | None, dtype: torch.dtype, *, exactly: bool
    ) -> Tensor:
        """A parameter, or a twin's `own` in its place; `exactly`: whatever the family keeps wider
        is narrowed too."""
        parameter = self.named[name].detach() if own is None else own
        key = (name, dtype, id(own))
        if key not in self.cast:
            stored = parameter.dtype if exactly or own is not None else self._stored
            self.cast[key] = computed(parameter, stored, dtype)
        return self.cast[key]

    def release(self) -> None:
        """Let go of what was cast."""
        self.cast.clear()

    @property
    def cast_bytes(self) -> int:
        """The most that casting takes at a time for the reference."""
        if self._compute is None:
            return 0
        entering, leaving = self._sides
        return max(
            self._bytes_to_cast(entering, self._compute),
            self._bytes_to_cast(leaving, of_logits(self._compute)),
        )

    def cast_bytes_in(self, dtype: torch.dtype) -> int:
        """The most that casting to a twin's own dtype takes at a time."""
        return max(self._bytes_to_cast(side, dtype) for side in self._sides)

    def _bytes_to_cast(self, names: Iterable[str], dtype: torch.dtype) -> int:
        own = {id(self.named[name]): self.named[name] for name in names}
        cast = (p for p in own.values() if p.is_floating_point() and p.dtype != dtype)
        return sum(p.numel() for p in cast) * dtype.itemsize
