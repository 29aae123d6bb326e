"""With what is a compression compared? With no change at all, and with noise of the same size."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.compression.numerics.weights import frobenius, working_copy
from bitlens.compression.spec_settings import check
from bitlens.models.matrices import LinearMap
from bitlens.seeds import derive


@COMPRESSIONS.register("nothing")
@dataclass(frozen=True, kw_only=True)
class Nothing(Compression):
    """The twin equals its reference: every change metric must have its intact value."""

    name: ClassVar[str] = "nothing"
    control: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check(self)

    def compress(
        self,
        maps: Sequence[LinearMap],
        seed: int,
        prepare: Any = None,
        inputs: InputStatistics | None = None,
    ) -> list[CompressedMatrix]:
        return [
            CompressedMatrix(working_copy(map), 8.0 * map.weight.element_size()) for map in maps
        ]


@COMPRESSIONS.register("noise")
@dataclass(frozen=True, kw_only=True)
class Noise(Compression):
    """Gaussian noise whose Frobenius norm is, matrix by matrix and expert by expert, that of the
    error another compression makes: what damage of this size does if it has no structure.

    It touches the modules that the other touches, is booked at the other's bits, and computes in
    the reference's dtype. A draw depends on the root seed and the map's name, and is made on the
    CPU, so that every device gets the same one.
    """

    name: ClassVar[str] = "noise"
    control: ClassVar[bool] = True

    like: Compression
    include: tuple[str, ...] = field(init=False)
    """As `like` has it."""
    exclude: tuple[str, ...] = field(init=False)
    """As `like` has it."""

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "include", self.like.include)
        object.__setattr__(self, "exclude", self.like.exclude)

    @property
    def base(self) -> Compression:
        """The compression that the noise is matched to."""
        return self.like

    @property
    def parts(self) -> tuple[Compression, ...]:
        """The compression that the noise is matched to."""
        return (self.like,)

    def part_for(self, matrix: str) -> Compression:
        """What takes this matrix in the compression that the noise is matched to."""
        return self.like.part_for(matrix)

    def prepare(self, maps: Callable[[], Iterable[LinearMap]]) -> Any:
        return self.like.prepare(maps)

    def compress(
        self,
        maps: Sequence[LinearMap],
        seed: int,
        prepare: Any = None,
        inputs: InputStatistics | None = None,
    ) -> list[CompressedMatrix]:
        return self.around(maps, self.like.compress(maps, seed, prepare, inputs), seed)

    def around(
        self, maps: Sequence[LinearMap], matched: Sequence[CompressedMatrix], seed: int
    ) -> list[CompressedMatrix]:
        """Noise as large as the errors of these results, for maps that are compressed already."""
        return [self._noisy(map, like, seed) for map, like in zip(maps, matched, strict=True)]

    def _noisy(self, map: LinearMap, like: CompressedMatrix, seed: int) -> CompressedMatrix:
        weight = working_copy(map)
        random = torch.Generator().manual_seed(derive(seed, "noise", map.name))
        draw = torch.randn(weight.shape, generator=random).to(weight.device)
        size = frobenius(like.weight - weight) / frobenius(draw)
        return CompressedMatrix(weight.addcmul_(draw, size.float()), like.bits)
