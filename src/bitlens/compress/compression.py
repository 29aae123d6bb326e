"""What a compression is: frozen settings that turn the matrices of a block into other matrices."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bitlens.registry import Registry


@dataclass(frozen=True, eq=False)
class Map:
    """An effective matrix of a model, y = W x, however the family stores it."""

    name: str
    """Full module path, `model.layers.3.mlp.down_proj`."""
    weight: Tensor
    """`[out, in]`, or `[expert, out, in]` for fused experts; on its own device, as stored."""
    head_size: int | None = None
    """For query, key and value maps: rows a head; None elsewhere."""
    fused: Literal["contiguous", "interleaved", "grouped"] | None = None
    """Where one map holds query, key and value: rows [qkv, head, size] or [head, qkv, size];
    `grouped` where there are fewer keys and values than queries."""


@dataclass(frozen=True, eq=False)
class Compressed:
    """What became of one map."""

    weight: Tensor
    """Same shape as the map's weight; float32."""
    bits: float
    """Bits per weight with scales and zeros included."""


@dataclass(frozen=True)
class Compression(ABC):
    """A way to make a twin. Subclasses are frozen settings; `compress` does the work."""

    name: ClassVar[str]
    control: ClassVar[bool] = False
    """True for what exists to be compared with (nothing, noise), not to be shipped."""

    include: tuple[str, ...] = ()
    """Shell patterns of module paths to compress; empty: every matrix of every block but routers.
    A pattern matches the whole path or any tail of it that starts at a dot."""
    exclude: tuple[str, ...] = ()
    """Shell patterns of module paths to leave alone; wins over include."""

    @property
    def compute_dtype(self) -> torch.dtype | None:
        """Compute dtype of the twin; None: the reference's."""
        return None

    def survey(self, maps: Callable[[], Iterable[Map]]) -> Any:
        """What must be known of all weights before the first is compressed (global pruning).

        `maps()` goes through every targeted map of the model, from the first; it may be called
        more than once. The result is handed to every `compress`."""
        return None

    @abstractmethod
    def compress(self, maps: Sequence[Map], seed: int, survey: Any = None) -> list[Compressed]:
        """Compress maps that read the same input (query, key and value; gate and up; ...).

        Never changes its arguments. `seed` is the root seed; random methods derive theirs from
        it and the map's name, so the result does not depend on the order of calls."""


COMPRESSIONS: Registry[Compression] = Registry("compression", "bitlens.compressions")
