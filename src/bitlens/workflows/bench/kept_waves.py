"""Log-probabilities by all models, and the files of those that a sweep of benchmarks has passed:
a sweep that is begun again finds them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from bitlens.results.files.reading import read_bytes, refuse_bomb
from bitlens.results.files.writing import write

_ENDING = ".npz"


@dataclass(frozen=True, eq=False)
class Said:
    """What all models say of every request, as far as it is known."""

    at: np.ndarray
    """`[models, requests, blocks]`: log-probabilities in nats through the lens, the last block's
    the model's own."""
    first: np.ndarray
    """`[models, requests]`: whether every token of the continuation comes first."""

    @classmethod
    def nothing(cls, models: int, requests: int, blocks: int) -> Self:
        """Of no request yet."""
        return cls(np.zeros((models, requests, blocks)), np.ones((models, requests), dtype=bool))


def keep(folder: Path, said: Said, batches: Sequence[int], requests: np.ndarray, of: str) -> None:
    """Write down what is known of these requests, which are all of these batches. `of`: tells the
    models, in their order, and the tokens of all batches: rows of numbers mean nothing else."""
    file = io.BytesIO()
    np.savez(
        file,
        of=np.array(of),
        batches=np.array(batches, dtype=np.int64),
        requests=requests,
        at=said.at[:, requests],
        first=said.first[:, requests],
    )
    write(folder / f"{batches[0]}{_ENDING}", file.getvalue())


def recalled(folder: Path, said: Said, batches: int, of: str) -> set[int]:
    """The numbers of the batches, of so many, that were written down; what is known of their
    requests is put into `said`. A file that is damaged, or was written of others than `of`, is as
    good as none."""
    known: set[int] = set()
    for path in sorted(folder.glob(f"*{_ENDING}")):
        try:
            wave = _read(path, of)
        except Exception:  # The reader raises whatever its bytes lead it to.
            continue
        if wave is None or not wave.fits(said, batches) or known & {*wave.batches.tolist()}:
            continue
        said.at[:, wave.requests], said.first[:, wave.requests] = wave.at, wave.first
        known |= {*wave.batches.tolist()}
    return known


@dataclass(frozen=True, eq=False)
class _Wave:
    """What a file holds."""

    batches: np.ndarray
    requests: np.ndarray
    at: np.ndarray
    first: np.ndarray

    def fits(self, said: Said, batches: int) -> bool:
        """Are these numbers of batches and requests, each once, and as much of each as it says?"""
        models, requests, blocks = said.at.shape
        shape = (models, len(self.requests), blocks)
        return (
            _numbers(self.batches, batches)
            and _numbers(self.requests, requests)
            and (self.at.shape, self.first.shape) == (shape, shape[:2])
            and (self.at.dtype, self.first.dtype) == (said.at.dtype, said.first.dtype)
        )


def _read(path: Path, of: str) -> _Wave | None:
    """What a file holds; None where it was written of others."""
    data = read_bytes(path)
    refuse_bomb(data, path)
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        if file["of"].tolist() != of:
            return None
        found = _Wave(*(file[name] for name in ("batches", "requests", "at", "first")))
        # A vector each: whatever else it is has no length, or no numbers.
        return found if found.batches.ndim == found.requests.ndim == 1 else None


def _numbers(vector: np.ndarray, below: int) -> bool:
    """Are these whole numbers from 0 to before another, each once, at least one?"""
    return bool(
        vector.dtype.kind == "i"
        and len(vector)
        and vector.min() >= 0
        and vector.max() < below
        and len(np.unique(vector)) == len(vector)
    )
