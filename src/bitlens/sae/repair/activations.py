"""Paired activations, from which a repair is learnt."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from bitlens.sae.sae import Sae

ENTRIES = 1 << 24
"""Of dense codes at a time."""


@dataclass(frozen=True, eq=False)
class PairedActivations:
    """Both models at the same positions of the same documents."""

    reference: Tensor
    """`[n, width]` float32."""
    twin: Tensor
    """`[n, width]` float32, at the same positions."""
    held_out: Tensor
    """`[n]` bool: positions, of whole documents, that are not learnt from but choose."""

    def part(self, *, held_out: bool) -> "PairedActivations":
        """The positions that are held out, or those that are learnt from."""
        mine = self.held_out == held_out
        return PairedActivations(self.reference[mine], self.twin[mine], self.held_out[mine])


def tiles(sae: Sae, on: PairedActivations) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions a few at a time: dense codes of all of them would not fit."""
    rows = max(1, ENTRIES // sae.latents)
    return zip(on.reference.split(rows), on.twin.split(rows), strict=True)
