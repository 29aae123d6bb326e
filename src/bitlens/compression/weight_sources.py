"""Sources of a twin's compressed matrices: computed whenever they are needed, or, of noise around
another twin, from that twin's."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bitlens.compression.compression import CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.methods.controls import Noise
from bitlens.models.matrices import LinearMap

Source = Callable[[Sequence[LinearMap]], list[CompressedMatrix]]
"""What becomes of maps that read the same input. A `WeightCache` is one, too."""


class Computed:
    """Matrices that a compression without calibration makes whenever they are needed."""

    def __init__(
        self, compression: Compression, seed: int, everything: Callable[[], Iterable[LinearMap]]
    ) -> None:
        self._compression, self._seed, self._everything = compression, seed, everything
        self._prepared: Any = None
        self._is_prepared = False

    def __call__(self, matrices: Sequence[LinearMap]) -> list[CompressedMatrix]:
        """Compress these matrices, which read the same input."""
        if not self._is_prepared:
            self._prepared = self._compression.prepare(self._everything)
            self._is_prepared = True
        return self._compression.compress(MatrixGroup(matrices, self._seed, self._prepared))


class Around:
    """Noise as large as the errors that another twin has already been given."""

    def __init__(self, noise: Noise, matched: Source, seed: int) -> None:
        self._noise, self._matched, self._seed = noise, matched, seed

    def __call__(self, matrices: Sequence[LinearMap]) -> list[CompressedMatrix]:
        """Make noise as large as the errors that these matrices were given."""
        return self._noise.around(matrices, self._matched(matrices), self._seed)
