"""What one block is made of: its parts by name, and where its matrices lie and how.

Found by running it: see `block_examination`.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from torch import Tensor

from bitlens.models.expert_routing import RouterPlace
from bitlens.models.norms import Gain
from bitlens.models.roles import Role


@dataclass(frozen=True)
class MatrixPlace:
    """Where one effective matrix lives in a block and how to turn it to `[out, in]`."""

    module: str
    """Path inside the block."""
    parameter: str
    """`weight`, or the name of a fused expert parameter."""
    _: KW_ONLY
    transposed: bool
    """Stored as `[in, out]` (GPT-2's Conv1D) or `[expert, in, out]`."""
    head_size: int | None = None
    fused: Literal["contiguous", "interleaved", "grouped"] | None = None
    gain: Gain | None = None
    """Of the norm whose output it reads; None where it reads something else."""
    writes: bool = False
    """Whether it writes to a residual stream whose mean over the width nothing reads."""
    adds: bool = False
    """Whether what it makes is added to the residual stream, with no norm between."""
    role: Role | None = None

    @property
    def name(self) -> str:
        """Path inside the block; fused expert parameters add their own name."""
        return self.module if self.parameter == "weight" else f"{self.module}.{self.parameter}"

    @property
    def key(self) -> str:
        """The name of the parameter among a block's weights."""
        return f"{self.module}.{self.parameter}"

    @property
    def about(self) -> dict[str, Any]:
        """What is known of the matrix besides its numbers, as `LinearMap` names it."""
        known = ("head_size", "fused", "writes", "adds", "role")
        return {name: getattr(self, name) for name in known}

    def effective(self, stored: Tensor) -> Tensor:
        """`[out, in]` or `[expert, out, in]`; a view."""
        return stored.transpose(-1, -2) if self.transposed else stored

    def stored(self, effective: Tensor) -> Tensor:
        """Back to how the family stores it."""
        return effective.transpose(-1, -2).contiguous() if self.transposed else effective


@dataclass(frozen=True, kw_only=True)
class BlockLayout:
    """Names inside one block, relative to it."""

    attention: str
    """Its output is what attention adds to the residual stream."""
    mlp: str
    """Its output is what the MLP adds."""
    pattern: str
    """The attention module proper: returns its weights under eager attention."""
    heads: str | None
    """The output projection: its input is the heads' outputs side by side."""
    neurons: str | None
    """The MLP's last map: its input is the neurons."""
    groups: tuple[tuple[MatrixPlace, ...], ...]
    """Matrices that read the same input stand together, in the order data meets them."""
    in_place: bool = False
    """Whether the block adds to tensors after its modules have handed them out (Falcon): what is
    read on the way must be copied when it is handed out."""
    routing: RouterPlace | None = None
    """Its router and experts; None where every token meets all of the MLP."""

    @property
    def projection(self) -> MatrixPlace:
        """Where the output projection lives."""
        return next(
            place
            for group in self.groups
            for place in group
            if place.module == self.heads and place.parameter == "weight"
        )
