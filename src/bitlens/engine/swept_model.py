"""A model that a sweep runs block by block, and the reference as the plainest of them."""

from typing import Annotated, Protocol

import torch
from torch import Tensor

from bitlens.models.block_runner import Block
from bitlens.models.layout import BlockWeights, Layout
from bitlens.models.shell import Entry


class SweptModel(Protocol):
    """Anything that a sweep runs block by block: the reference, a compressed twin, a checkpoint."""

    @property
    def dtype(self) -> torch.dtype | None:
        """Compute dtype; None: the reference's."""

    @property
    def entry_key(self) -> str:
        """Models with equal keys share embedding, unembedding and compute dtype."""

    @property
    def held_bytes(self) -> int:
        """Bytes of an embedding and unembedding of its own: what it keeps for the run, and what it
        casts at a time."""

    def enter(self, tokens: Tensor, mask: Tensor | None) -> Entry:
        """What its blocks are called with; `tokens` `[rows, positions]`, `mask` alike."""

    def leave(self, states: Tensor) -> Tensor:
        """`[n, width]` after the last block to `[n, vocabulary]`."""

    def release(self) -> None:
        """Let go of what was cast to enter or to leave; it is cast again when it is needed."""

    def block(self, depth: int, weights: BlockWeights) -> Block:
        """Its block at this depth, to be run; `weights` are the reference's."""


class Reference:
    """The model as it was given."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @property
    def dtype(self) -> None:
        """None: the reference's compute dtype is that of every model without one of its own."""
        return None

    @property
    def entry_key(self) -> str:
        """The key of every model in this dtype that changes nothing outside the blocks."""
        return f"{self.dtype}"

    @property
    def held_bytes(self) -> int:
        """0: the reference holds nothing beside the model itself."""
        return 0

    def enter(self, tokens: Tensor, mask: Tensor | None) -> Entry:
        """What its blocks are called with."""
        return self.layout.shell.enter(tokens, mask, {}, dtype=None)

    def leave(self, states: Annotated[Tensor, "n width"]) -> Annotated[Tensor, "n vocabulary"]:
        """`[n, width]` after the last block to `[n, vocabulary]`."""
        return self.layout.shell.leave(states, {}, None)

    def release(self) -> None:
        """Let go of what was cast to enter or to leave; it is cast again when it is needed."""
        self.layout.shell.release()

    def block(self, depth: int, weights: BlockWeights) -> Block:
        """The model's own block."""
        layout = self.layout
        return Block(
            layout.callable_block(depth), layout.block_layouts[depth], weights.computed, {}
        )
