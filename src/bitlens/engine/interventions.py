"""Interventions: what takes the place of an activation while a model runs, and at which positions.

Where: the residual stream between blocks, what attention or the MLP adds to it, the heads' outputs
before they are projected (one head's columns, say), or the MLP's neurons. What: anything made of
the value itself, or of the value that another run of the same sweep has there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from bitlens.engine.plan import TokenBatch
from bitlens.errors import ModelError
from bitlens.models.expert_routing import ROUTER
from bitlens.models.layout import Layout
from bitlens.models.sites import site

Change = Callable[[Tensor, Tensor], Tensor]
"""`[n, columns]` float32 of some positions, and the value of the run that the intervention takes
from there (the first again where it takes from none), to what is to stand there."""

Which = Literal["counted", "marked", "last", "every"]
"""Every position that counts; those that the documents mark; the last of every row; all that hold a
token, whether they count or not."""

BETWEEN = ("embed", "resid")
CHANGEABLE = (*BETWEEN, "attn", "mlp", "heads", "neurons", ROUTER)


@dataclass(frozen=True, eq=False, kw_only=True)
class Intervention:
    """What is put in the place of an activation on its way through depth.

    All other positions, padding among them, and all other columns are left bit for bit as they
    are. BitlensError for a site that nothing can be put in the place of.
    """

    site: str
    """`embed`, `resid.N`, `attn.N`, `mlp.N`, `heads.N`, `neurons.N`, or `router.N`, whom each token
    of a mixture of experts is sent to (`bitlens.models.expert_routing.Routing.packed`)."""
    change: Change
    source: str | None = None
    """The run of the same sweep whose value at the site `change` is given besides."""
    positions: Which = "counted"
    columns: slice | None = None
    """Of the site's width: those of one head, say (`head_columns`); None: all."""
    partner: bool = False
    """Whether what is taken is that of the row's partner: rows stand in twos, a clean prompt and
    its corrupt one, and each is given what the other has."""

    def __post_init__(self) -> None:
        if site(self.site).kind not in CHANGEABLE:
            raise ModelError(
                f"An intervention on {self.site}.",
                f"one on {', '.join(CHANGEABLE)}, which are handed on as they are put.",
                "resid.0, the stream after the first block, say.",
            )

    @property
    def between(self) -> bool:
        """Whether it is on the residual stream between blocks, not on what a block works with."""
        return site(self.site).kind in BETWEEN

    @property
    def start(self) -> int:
        """The first block that it changes anything for."""
        return site(self.site).depth + self.between

    def at(
        self,
        index: Annotated[Tensor, "n"],
        value: Annotated[Tensor, "*rows width"],
        taken: Tensor | None = None,
    ) -> Annotated[Tensor, "*rows width"]:
        """`[..., width]` changed at the flattened positions `index` `[n]`, in the dtype of `value`;
        `taken`, of as many positions and the same width, is the value of `source`."""
        flat = value.flatten(0, -2).clone()
        index, columns = index.to(flat.device), self.columns or slice(None)
        own = flat[index][:, columns].float()
        given = own
        if taken is not None:
            given = taken.to(flat.device).flatten(0, -2)[index][:, columns].float()
        flat[index, columns] = self.change(own, given).to(flat)
        return flat.view_as(value)

    def on_batch(self, batch: TokenBatch, taken: Tensor | None, value: Tensor) -> Tensor:
        """`[rows, positions, width]` of a batch changed at its positions; `taken` as for `at`."""
        if self.partner and taken is not None:
            taken = taken.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
        return self.at(intervened_positions(batch, self.positions), value, taken)


def intervened_positions(batch: TokenBatch, which: Which) -> Tensor:
    """`[n]`: flattened positions of a batch. BitlensError where none are marked in any document
    and marked ones are asked for."""
    if which == "counted":
        return batch.index
    rows, width = batch.tokens.shape
    if which == "every":
        inside = torch.ones_like(batch.tokens) if batch.mask is None else batch.mask
        return torch.nonzero(inside.flatten()).flatten()
    if which == "last":
        ends = batch.length.view(rows, width)[:, 0] - 1
        return torch.arange(rows, device=ends.device) * width + ends
    if batch.mark is None:
        raise ModelError(
            "An intervention at marked positions reads documents without marks.",
            "documents that say which of their positions are marked.",
            "positions 'counted' or 'last', or documents with marks.",
        )
    return torch.nonzero(batch.mark >= 0).flatten()


def head_columns(layout: Layout, depth: int, head: int) -> slice:
    """Where the output of one head, counted from 0, stands in `heads.N` of block `depth`.
    BitlensError where the block has no such head."""
    heads = int(layout.config.num_attention_heads)
    projection = f"{layout.block_name(depth)}.{layout.block_layouts[depth].heads}"
    widths = [m.weight.shape[-1] for m in layout.examples() if m.name == projection]
    if not widths or not 0 <= head < heads:
        raise ModelError(
            f"Head {head} of block {depth}, which has {heads if widths else 0} heads.",
            "a head of the block, counted from 0.",
            f"0 to {heads - 1}." if widths else "an intervention on what attention adds (attn.N).",
        )
    size = widths[0] // heads
    return slice(head * size, (head + 1) * size)


def taken(_: Tensor, given: Tensor) -> Tensor:
    """The value of the run it is taken from, as it is."""
    return given


def added(vector: Tensor) -> Change:
    """A vector `[width]` on top of what stands there."""
    return lambda own, _: own + vector.to(own)


def constant(vector: Tensor) -> Change:
    """A vector `[width]` in the place of whatever stands there."""
    return lambda own, _: vector.to(own).expand_as(own)


def ablated(direction: Tensor) -> Change:
    """What stands there without what of it points along a direction `[width]` of any length."""

    def without(own: Tensor, _: Tensor) -> Tensor:
        unit = direction.to(own) / direction.to(own).norm()
        left: Tensor = own - (own @ unit)[:, None] * unit
        return left

    return without
