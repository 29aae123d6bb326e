"""Which rows go through the model together?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlens.data.corpus import Corpus
from bitlens.errors import BitlensError

NO_TARGET = -1


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of a corpus, padded on the right."""

    tokens: NDArray[np.int64]
    """[rows, width]"""
    lengths: NDArray[np.int64]
    """[rows] tokens that are not padding."""
    document: NDArray[np.int64]
    """[rows] the document each row belongs to."""
    offset: NDArray[np.int64]
    """[rows] place of the row's first token within its document (`Corpus.starts`)."""
    row: NDArray[np.int64]
    """[rows] which row of the corpus it is."""
    subset: bool
    """Whether these are rows of the chosen documents."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """[rows, width] where a token is not padding."""
        return np.arange(self.tokens.shape[1]) < self.lengths[:, None]

    @property
    def target(self) -> NDArray[np.int64]:
        """[rows, width] the token that follows, -1 where none does."""
        following = np.full_like(self.tokens, NO_TARGET)
        following[:, :-1] = np.where(self.mask[:, 1:], self.tokens[:, 1:], NO_TARGET)
        return following

    @property
    def padded(self) -> bool:
        """Whether there is any padding."""
        return bool(self.lengths.min() < self.tokens.shape[1])


def make_batches(
    corpus: Corpus,
    batch_tokens: int,
    subset: NDArray[np.bool_] | None = None,
    pad_id: int = 0,
) -> list[Batch]:
    """Every row of the corpus once, in batches of at most `batch_tokens` tokens with padding.

    Longest rows first, rows of one length together in the corpus' order. Rows of the documents in
    `subset` (a boolean for each of `corpus.document_names`) come first and share no batch with
    the others. `pad_id` must be in the vocabulary, because it is embedded like any token.
    """
    lengths = corpus.lengths
    if len(lengths) and lengths.max() > batch_tokens:
        raise BitlensError(
            f"A row of {lengths.max()} tokens does not fit a batch of {batch_tokens}.",
            "batches that hold the longest row.",
            "a larger batch, or a smaller --context.",
        )
    chosen = np.zeros(len(lengths), bool) if subset is None else subset[corpus.document]
    order = np.lexsort((-lengths, ~chosen))
    batches, first = [], 0
    for stop in (int(chosen.sum()), len(order)):
        while first < stop:
            end = min(first + batch_tokens // int(lengths[order[first]]), stop)
            batches.append(_batch(corpus, order[first:end], bool(chosen[order[first]]), pad_id))
            first = end
    return batches


def _batch(corpus: Corpus, row: NDArray[np.int64], subset: bool, pad_id: int) -> Batch:
    rows = [corpus.rows[n] for n in row]
    lengths = np.array([len(ids) for ids in rows])
    tokens = np.full((len(rows), lengths.max()), pad_id, np.int64)
    tokens[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(rows)
    return Batch(tokens, lengths, corpus.document[row], corpus.starts[row], row, subset)
