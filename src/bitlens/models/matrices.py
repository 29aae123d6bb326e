"""A matrix that multiplies, whatever module of whichever family stores it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Literal

from bitlens.models.roles import BlockStanding, Role

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class LinearMap:
    """An effective matrix of a model, y = W x, however the family stores it."""

    name: str
    """Full module path, `model.layers.3.mlp.down_proj`."""
    weight: Tensor
    """`[out, in]`, or `[expert, out, in]` for fused experts; on its own device, as stored."""
    _: KW_ONLY
    head_size: int | None = None
    """For query, key and value maps: rows a head; None elsewhere."""
    fused: Literal["contiguous", "interleaved", "grouped"] | None = None
    """Where one map holds query, key and value: rows [qkv, head, size] or [head, qkv, size];
    `grouped` where there are fewer keys and values than queries."""
    gain: Tensor | None = None
    """`[in]`, float32: what the norm whose output x is multiplies by (1 + weight where the family
    does so); None where x is no norm's output."""
    writes: bool = False
    """Whether y is added to a residual stream whose mean over the width nothing reads, as under
    LayerNorm."""
    adds: bool = False
    """Whether y is added to the residual stream, with no norm between."""
    role: Role | None = None
    """What it is for, where that is known."""
    standing: BlockStanding | None = None
    """Where it stands in the model; None: outside of any."""
