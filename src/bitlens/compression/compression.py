"""Compressions: frozen settings that turn the matrices of a block into other matrices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ClassVar

from bitlens.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bitlens.compression.numerics.cache_rounding import CacheRounding
    from bitlens.compression.numerics.input_rounding import InputRounding
    from bitlens.compression.numerics.input_statistics import InputStatistics, Statistic
    from bitlens.models.matrices import LinearMap


@dataclass(frozen=True, eq=False)
class CompressedMatrix:
    """What became of one matrix."""

    weight: Tensor
    """As the matrix's own, `[out, in]` or `[expert, out, in]`; float32."""
    bits: float
    """Bits per weight with scales and zeros included."""
    _: KW_ONLY
    group: int = 0
    """Input columns within a row that share a scale; 0: whole rows or more do, or nothing does."""
    note: str = ""
    """What the user should know about how it was made: a damping that had to be raised."""
    activations: InputRounding | None = None
    """How the matrix's inputs are rounded before they are multiplied; None: not at all."""


@dataclass(frozen=True, eq=False)
class MatrixGroup:
    """Matrices that read the same input, and what is known of that input."""

    matrices: Sequence[LinearMap]
    seed: int
    """The root seed: random methods derive theirs from it and the name of a matrix."""
    prepared: Any = None
    """What the compression's `prepare` found."""
    inputs: InputStatistics | None = None
    """The `statistics` that the compression asks for; None where it asks for none."""

    def statistic(self, name: Statistic) -> Tensor:
        """One of the statistics of the input. ValueError where it was not gathered."""
        found: Tensor | None = None if self.inputs is None else getattr(self.inputs, name)
        if found is None:
            raise ValueError(f"no {name} of the inputs is given, which this is calibrated on")
        return found


@dataclass(frozen=True)
class Compression(ABC):
    """A way to make a twin. Subclasses are frozen settings; `compress` does the work."""

    name: ClassVar[str]
    question: ClassVar[str] = ""
    """What it lets one ask, for `bitlens list`; empty: its docstring's first sentences stand for
    it."""
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

    def part_for(self, matrix: str) -> Compression:  # noqa: ARG002
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
    def cache(self) -> CacheRounding | None:
        """How keys and values are rounded; None: they are not. What rounds them leaves matrices
        alone, but for those of its `parts`."""
        return None

    @property
    def statistics(self) -> frozenset[Statistic]:
        """What it is calibrated on, of the inputs of matrices; empty: it needs no data."""
        return frozenset()

    @property
    def sequential(self) -> bool:
        """Whether, within a block too, each group of matrices is calibrated on what the groups
        before it hand it once they are compressed; no matter where nothing is calibrated."""
        return True

    def prepare(self, matrices: Callable[[], Iterable[LinearMap]]) -> Any:  # noqa: ARG002
        """What must be known of all weights before the first is compressed (global pruning).

        `matrices()` goes through every targeted matrix of the model, from the first; it may be
        called more than once. The result is `prepared` in every group."""
        return None

    @abstractmethod
    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Compress matrices that read the same input (query, key and value; gate and up; ...), in
        their order. Never changes them. The result does not depend on the order of calls, nor on
        which matrices without statistics stand together."""


@dataclass(frozen=True)
class DataFree(Compression):
    """A compression that looks at one matrix at a time, and at no data."""

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Compress every matrix of the group by itself."""
        return [self.compress_matrix(matrix) for matrix in group.matrices]

    @abstractmethod
    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        """Compress one matrix. Never changes it."""


_SHARED = {
    **dict.fromkeys(("nf4", "fp4"), "codebook"),
    **dict.fromkeys(("mxfp4", "mxfp6", "mxfp8"), "microscaling"),
    **dict.fromkeys(("fp8", "w8a8"), "w8a8"),
    **dict.fromkeys(("noise", "nothing"), "controls"),
}
"""Compressions that stand in a file together, and that file."""

_FILES = {module.name for module in iter_modules([str(Path(__file__).with_name("methods"))])}
_BY_NAME = {**{file: file for file in _FILES - set(_SHARED.values())}, **_SHARED}
"""Which file each of them stands in: that of its own name, if no other."""

COMPRESSIONS: Registry[Compression] = Registry(
    "compression",
    "bitlens.compressions",
    {name: f"bitlens.compression.methods.{file}" for name, file in _BY_NAME.items()},
)
