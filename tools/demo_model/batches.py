"""What does the model see at a given training step?

A step's rows depend on the root seed and the step's number alone, never on what was drawn
before, so a run that was stopped continues on exactly the same rows. Windows of documents are
mixed with random tokens repeated: copying them is what induction heads do (Olsson et al. 2022,
"In-context Learning and Induction Heads"), and a small model on little code does not grow such
heads from text alone in the time we allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlens import seeds

IGNORED = -100
"""The label that cross-entropy skips: what follows the end of a short document."""

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one shape of batch."""

    n_steps: int
    context: int
    n_rows: int
    n_repeated: int
    "how many of the rows are random tokens repeated; the others are text"
    shortest_period: int
    longest_period: int


@dataclass(frozen=True)
class Corpus:
    """All training documents as one line of tokens, and where each begins and ends."""

    ids: Ids
    starts: Ids
    "documents + 1: the last entry is the total"

    @classmethod
    def of(cls, documents: Sequence[Ids], eos: int) -> Corpus:
        """Tokenized documents, an `eos` after each, joined."""
        pieces = [np.append(ids, eos) for ids in documents]
        starts = np.cumsum([0, *(len(piece) for piece in pieces)])
        return cls(np.concatenate(pieces), starts.astype(np.int64))

    def fingerprint(self) -> str:
        """Two runs on the same tokens agree in this."""
        return hashlib.sha256(self.ids.astype("<i8").tobytes()).hexdigest()


def repeated_row(
    generator: np.random.Generator, context: int, period: int, bos: int, ordinary: Ids
) -> Ids:
    """[BOS] A A ... cut at the context, A being `period` different ordinary tokens."""
    sequence = generator.choice(ordinary, size=period, replace=False)
    return np.append(bos, np.resize(sequence, context - 1))


def text_row(generator: np.random.Generator, corpus: Corpus, context: int, bos: int) -> Ids:
    """[BOS] and a window of one document; shorter than the context where the document is.

    The window holds a uniformly drawn token at a uniformly drawn place, as far as the
    document's ends allow, so its first and last tokens are learnt from as well.
    """
    width = context - 1
    position = int(generator.integers(len(corpus.ids)))
    document = int(np.searchsorted(corpus.starts, position, side="right")) - 1
    begin, end = int(corpus.starts[document]), int(corpus.starts[document + 1])
    start = min(position - int(generator.integers(width)), end - width)
    start = max(start, begin)
    return np.append(bos, corpus.ids[start : min(start + width, end)])


def batch(
    phase: Phase, step: int, seed: int, corpus: Corpus, bos: int, ordinary: Ids
) -> tuple[Ids, Ids]:
    """The step's tokens and labels (not yet shifted), both rows x context."""
    generator = seeds.generator(seed, "batch", step)
    ids = np.full((phase.n_rows, phase.context), bos, dtype=np.int64)
    labels = np.full_like(ids, IGNORED)
    for i in range(phase.n_rows):
        if i < phase.n_repeated:
            period = int(generator.integers(phase.shortest_period, phase.longest_period + 1))
            row = repeated_row(generator, phase.context, period, bos, ordinary)
        else:
            row = text_row(generator, corpus, phase.context, bos)
        ids[i, : len(row)] = row
        labels[i, : len(row)] = row
    return ids, labels
