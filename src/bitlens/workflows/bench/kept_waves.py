"""Log-probabilities by all models, and the files of those that a sweep of benchmarks has passed:
a sweep that is begun again finds them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np

from bitlens.errors import BitlensError
from bitlens.results.files.reading import read_bytes
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


def keep(folder: Path, said: Said, batches: Sequence[int], requests: np.ndarray) -> None:
    """Write down what is known of these requests, which are all of these batches."""
    file = io.BytesIO()
    np.savez(
        file,
        batches=np.array(batches, dtype=np.int64),
        requests=requests,
        at=said.at[:, requests],
        first=said.first[:, requests],
    )
    write(folder / f"{batches[0]}{_ENDING}", file.getvalue())


def recalled(folder: Path, said: Said, batches: int) -> set[int]:
    """The numbers of the batches, of so many, that were written down; what is known of their
    requests is put into `said`. A file that is damaged is as good as none."""
    known: set[int] = set()
    for path in sorted(folder.glob(f"*{_ENDING}")):
        try:
            with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as file:
                numbers, requests = file["batches"], file["requests"]
                at, first = file["at"], file["first"]
            if not set(numbers.tolist()) <= set(range(batches)):
                continue
            shape = (len(said.at), len(requests), said.at.shape[2])
            if (at.shape, first.shape) != (shape, shape[:2]):
                continue
            said.at[:, requests], said.first[:, requests] = at, first
            known |= set(numbers.tolist())
        except (BitlensError, OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile):
            continue
    return known
