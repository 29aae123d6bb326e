"""Controls: no change at all, and noise as large as what another compression does."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from bitlens.compression.compression import (
    COMPRESSIONS,
    CompressedMatrix,
    Compression,
    DataFree,
    MatrixGroup,
)
from bitlens.compression.numerics.weights import frobenius, working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError
from bitlens.models.matrices import LinearMap
from bitlens.seeds import derive


@COMPRESSIONS.register("nothing")
@dataclass(frozen=True, kw_only=True)
class Nothing(DataFree):
    """The twin equals its reference: every change metric must have its intact value."""

    name: ClassVar[str] = "nothing"
    question: ClassVar[str] = "Control: what is measured where nothing changes at all?"
    control: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check(self)

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        """The weight as it is, in float32."""
        return CompressedMatrix(working_copy(matrix), 8.0 * matrix.weight.element_size())


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
    question: ClassVar[str] = (
        "Control: what does random noise do that is as large as another compression's error?"
    )
    control: ClassVar[bool] = True

    like: Compression
    include: tuple[str, ...] = field(init=False)
    """Patterns of the matrices that are changed: those of `like`."""
    exclude: tuple[str, ...] = field(init=False)
    """Patterns of the matrices that are left out: those of `like`."""

    def __post_init__(self) -> None:
        check(self)
        if self.like.cache is not None:
            raise InputError(
                f"noise: like is {self.like.name}, which changes no weights.",
                "a compression that changes weights.",
                "noise:like=[rtn:bits=4]",
            )
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

    def prepare(self, matrices: Callable[[], Iterable[LinearMap]]) -> Any:
        """What the compression that the noise is matched to has to know."""
        return self.like.prepare(matrices)

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Compress the matrices to see how large the errors are, and make noise of it."""
        return self.around(group.matrices, self.like.compress(group), group.seed)

    def around(
        self, matrices: Sequence[LinearMap], matched: Sequence[CompressedMatrix], seed: int
    ) -> list[CompressedMatrix]:
        """Noise as large as the errors of these results, which are already made."""
        return [
            self._noisy(matrix, like, seed) for matrix, like in zip(matrices, matched, strict=True)
        ]

    def _noisy(self, matrix: LinearMap, like: CompressedMatrix, seed: int) -> CompressedMatrix:
        weight = working_copy(matrix)
        random = torch.Generator().manual_seed(derive(seed, "noise", matrix.name))
        draw = torch.randn(weight.shape, generator=random).to(weight.device)
        size = frobenius(like.weight - weight) / frobenius(draw)
        return CompressedMatrix(weight.addcmul_(draw, size.float()), like.bits)
