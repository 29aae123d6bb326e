"""Where do a twin's compressed matrices come from? Computed whenever they are needed, or, of
noise around another twin, from that twin's."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bitlens.compression.compression import CompressedMatrix, Compression
from bitlens.compression.methods.controls import Noise
from bitlens.models.matrices import LinearMap

Source = Callable[[Sequence[LinearMap]], list[CompressedMatrix]]
"""What becomes of maps that read the same input. A `WeightCache` is one, too."""


class Computed:
    """By a compression that needs no calibration."""

    def __init__(
        self, compression: Compression, seed: int, everything: Callable[[], Iterable[LinearMap]]
    ) -> None:
        self._compression, self._seed, self._everything = compression, seed, everything
        self._survey: Any = None
        self._surveyed = False

    def __call__(self, maps: Sequence[LinearMap]) -> list[CompressedMatrix]:
        if not self._surveyed:
            self._survey = self._compression.prepare(self._everything)
            self._surveyed = True
        return self._compression.compress(maps, self._seed, self._survey)


class Around:
    """Noise as large as the errors that another twin has already been given."""

    def __init__(self, noise: Noise, matched: Source, seed: int) -> None:
        self._noise, self._matched, self._seed = noise, matched, seed

    def __call__(self, maps: Sequence[LinearMap]) -> list[CompressedMatrix]:
        return self._noise.around(maps, self._matched(maps), self._seed)
