"""What a compression is: frozen settings that turn the matrices of a block into other matrices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bitlens.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bitlens.compression.numerics.input_rounding import InputRounding
    from bitlens.compression.numerics.input_statistics import InputStatistics, Statistic
    from bitlens.models.matrices import LinearMap


@dataclass(frozen=True, eq=False)
class CompressedMatrix:
    """What became of one map."""

    weight: Tensor
    """Same shape as the map's weight; float32."""
    bits: float
    """Bits per weight with scales and zeros included."""
    group: int = 0
    """Input columns within a row that share a scale; 0: whole rows or more do, or nothing does."""
    note: str = ""
    """What the user should know about how it was made: a damping that had to be raised."""
    activations: InputRounding | None = None
    """How the map's inputs are rounded before they are multiplied; None: not at all."""


@dataclass(frozen=True)
class Compression(ABC):
    """A way to make a twin. Subclasses are frozen settings; `compress` does the work."""

    name: ClassVar[str]
    control: ClassVar[bool] = False
    """True for what exists to be compared with (nothing, noise), not to be shipped."""
    positional: ClassVar[str | None] = None
    """The setting whose value may be written first, without its name."""

    include: tuple[str, ...] = ()
    """Shell patterns of module paths to compress; empty, or `*`: every matrix of every block but
    routers. A pattern matches the whole path or any tail of it that starts at a dot."""
    exclude: tuple[str, ...] = ()
    """Shell patterns of module paths to leave alone; wins over include."""

    @property
    def base(self) -> Compression:
        """What decides about the matrices: itself; of noise, the compression it is matched to."""
        return self

    @property
    def parts(self) -> tuple[Compression, ...]:
        """The compressions that stand in its settings."""
        return ()

    def part_for(self, matrix: str) -> Compression:
        """The compression that takes the matrix of this name: itself, or one of its parts."""
        return self

    @property
    def matched_to(self) -> Compression | None:
        """The compression whose harm it is to do: how much it takes away is sought before anything
        is compressed. None: its settings say all."""
        return None

    def nested(self) -> Iterator[Compression]:
        """Itself, its parts, theirs, and so on."""
        yield self
        for part in self.parts:
            yield from part.nested()

    @property
    def compute_dtype(self) -> torch.dtype | None:
        """Compute dtype of the twin; None: the reference's."""
        return None

    @property
    def statistics(self) -> frozenset[Statistic]:
        """Which statistics of the maps' inputs it is calibrated on; empty: it needs no data."""
        return frozenset()

    @property
    def sequential(self) -> bool:
        """Of calibrated methods: whether, within a block too, each group of maps is calibrated on
        what the groups before it hand it once they are compressed."""
        return True

    def prepare(self, maps: Callable[[], Iterable[LinearMap]]) -> Any:
        """What must be known of all weights before the first is compressed (global pruning).

        `maps()` goes through every targeted map of the model, from the first; it may be called
        more than once. The result is handed to every `compress`."""
        return None

    @abstractmethod
    def compress(
        self,
        maps: Sequence[LinearMap],
        seed: int,
        prepare: Any = None,
        inputs: InputStatistics | None = None,
    ) -> list[CompressedMatrix]:
        """Compress maps that read the same input (query, key and value; gate and up; ...).

        `inputs` holds the statistics that it `statistics` of that input; None where it needs none.
        Never changes its arguments. `seed` is the root seed; random methods derive theirs from
        it and the map's name, so the result does not depend on the order of calls."""


_FILES = {
    "nf4": "codebook",
    "fp4": "codebook",
    "noise": "controls",
    "nothing": "controls",
    **{
        name: name
        for name in (
            *("awq", "cast", "checkpoint", "folded", "fp8", "gguf", "gptq", "hqq", "int8"),
            *("mixed", "prune", "quip", "rtn", "smoothquant", "squeezellm"),
        )
    },
}
"""Names that are no file's own, and those that are."""

COMPRESSIONS: Registry[Compression] = Registry(
    "compression",
    "bitlens.compressions",
    {name: f"bitlens.compression.methods.{file}" for name, file in _FILES.items()},
)
