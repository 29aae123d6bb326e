"""The blocks of one depth, one for each model: made, compressed, and set side by side."""

from collections.abc import Mapping

from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import SweptModel
from bitlens.errors import BitlensError
from bitlens.models.block_runner import Block
from bitlens.models.layout import Layout
from bitlens.models.paired_block import NarrowedReference, PairedBlock
from bitlens.models.written import share_coordinates


def blocks_at(
    layout: Layout, depth: int, models: Mapping[str, SweptModel], failed: dict[str, str]
) -> dict[str, Block]:
    """This block once for every model; `failed` is told of which it could not be made, and why.

    Where the layout is paired, a twin's is what it differs by from the reference's; all of it is
    held no longer than it takes to tell. One that computes in a dtype of its own, or rounds what
    it multiplies, stays as it is: a step of the rounding is large, and which way it goes hangs on
    the last digits.
    """
    weights = layout.block(depth)
    blocks: dict[str, Block] = {}
    reference = None
    if layout.paired and REFERENCE in models:
        blocks[REFERENCE] = models[REFERENCE].block(depth, weights)
        reference = NarrowedReference(blocks[REFERENCE], weights.stored)
    for name, model in models.items():
        if name in blocks:
            continue
        try:
            block = model.block(depth, weights)
        except BitlensError as error:
            failed[name] = str(error)
            continue
        alike = None if model.dtype or block.roundings else reference
        blocks[name] = PairedBlock(alike, block) if alike else block
    return blocks


def let_be_written(blocks: Mapping[str, Block], layout: Layout) -> None:
    """What the heads of these blocks write can be read of all."""
    twins = [block for name, block in blocks.items() if name != REFERENCE]
    share_coordinates(blocks[REFERENCE], twins, int(layout.config.num_attention_heads))
