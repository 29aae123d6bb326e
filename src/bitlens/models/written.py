"""What the heads of a block write: their outputs after the output projection, in few coordinates.

A head's output of `size` numbers becomes a vector as wide as the model, which for every head of
every position would not fit. The vectors of one head lie in a space of `size` dimensions, though,
and those of the same head of a twin in another one; in an orthonormal basis of both, lengths and
differences are what they were, and twice `size` numbers tell them.
"""

from collections.abc import Iterable
from typing import Annotated

import torch
from torch import Tensor

from bitlens.models.block_runner import Block
from bitlens.models.layout import Layout
from bitlens.models.sites import WRITTEN


def written_sites(layout: Layout) -> list[str]:
    """The site of every block whose heads' outputs go through one output projection, side by
    side."""
    heads = int(layout.config.num_attention_heads)
    return [f"{WRITTEN}.{n}" for n, wide in _columns(layout).items() if wide % heads == 0]


def written_width(layout: Layout) -> int:
    """Numbers that one position takes there, at most."""
    return 2 * max(_columns(layout).values(), default=0)


def _columns(layout: Layout) -> dict[int, int]:
    """By block, the numbers of all its heads side by side."""
    known = {name: shape[-1] for name, shape in layout.matrices()}
    named = {
        depth: known.get(f"{layout.block_name(depth)}.{block.heads}")
        for depth, block in enumerate(layout.block_layouts)
    }
    return {depth: wide for depth, wide in named.items() if wide is not None}


def share_coordinates(reference: Block, twins: Iterable[Block], heads: int) -> None:
    """Let a block's site `written` be read of the reference and of these twins, head by head.

    Biases belong to no head, and what a norm makes of the sum to none either: both are left out.
    """
    own = _by_head(reference.output_projection(), heads)
    basis = torch.linalg.qr(own).Q
    reference.writer = _coordinates(own, basis, None)
    for twin in twins:
        other = twin.output_projection()
        by_head = _by_head(other.to(own.device), heads)
        twin.writer = _coordinates(by_head, basis, by_head - own).to(other.device)


def _by_head(
    projection: Annotated[Tensor, "width columns"], heads: int
) -> Annotated[Tensor, "heads width size"]:
    height, columns = projection.shape
    return projection.float().view(height, heads, columns // heads).transpose(0, 1)


def _coordinates(
    projection: Annotated[Tensor, "heads width size"],
    basis: Annotated[Tensor, "heads width rank"],
    change: Tensor | None,
) -> Annotated[Tensor, "heads size coordinates"]:
    """From a head's output to where in the basis it is written, and where beside it.

    What is beside the basis is in the change alone, so that without one it is exactly nought.
    """
    within = basis.transpose(1, 2) @ projection
    beside = torch.zeros_like(within)
    if change is not None and bool(change.any()):
        outside = change - basis @ (basis.transpose(1, 2) @ change)
        beside = torch.linalg.qr(outside, mode="r").R
    return torch.cat([within, beside], dim=1).transpose(1, 2).contiguous()
