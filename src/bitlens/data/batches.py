"""Batches: the rows of a corpus that go through the model together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlens.data.corpus import Corpus
from bitlens.data.groups import NONE
from bitlens.errors import BitlensError, DataError

NO_TARGET = -1


@dataclass(frozen=True, eq=False, kw_only=True)
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
    mark: NDArray[np.int64] | None = None
    """[rows, width] which of its document's marks each token belongs to, -1 for none and for
    padding; None where no document of the corpus is in a group."""

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

    Longest rows first, rows of one length together in the corpus' order; the rows of a group stand
    together, where the longest of them would, and share a batch. Rows of the documents in `subset`
    (a boolean for each of `corpus.document_names`, equal within a group) come first and share no
    batch with the others. `pad_id` must be in the vocabulary, because it is embedded like any
    token. BitlensError for a row, or a group, that does not fit.
    """
    if least_batch(corpus) > batch_tokens:
        raise _too_small(corpus, batch_tokens)
    chosen = np.zeros(len(corpus.rows), bool) if subset is None else subset[corpus.document]
    block, longest = _blocks(corpus)
    order = np.lexsort((block, -longest, ~chosen))
    # A batch may end where a block does.
    ends = np.append(np.flatnonzero(np.diff(block[order])) + 1, len(order))
    batches, first = [], 0
    for stop in (int(chosen.sum()), len(order)):
        while first < stop:
            most = min(first + batch_tokens // int(longest[order[first]]), stop)
            end = int(ends[np.searchsorted(ends, most, side="right") - 1])
            batches.append(_batch(corpus, order[first:end], bool(chosen[order[first]]), pad_id))
            first = end
    return batches


def least_batch(corpus: Corpus) -> int:
    """Tokens, padding included, that a batch must hold for every row and every group to fit."""
    block, longest = _blocks(corpus)
    return int((np.bincount(block, minlength=len(block))[block] * longest).max(initial=0))


def _blocks(corpus: Corpus) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`[rows]`: the first row of what each row shares a batch with, itself where its document is
    in no group, and the tokens in the longest row of that."""
    block = np.arange(len(corpus.rows))
    if corpus.groups is not None:
        group = corpus.groups.first[corpus.document]
        _, first, of = np.unique(group, return_index=True, return_inverse=True)
        block = np.where(group == NONE, block, first[of])
    longest = np.zeros(len(block), dtype=np.int64)
    np.maximum.at(longest, block, corpus.lengths)
    return block, longest[block]


def _too_small(corpus: Corpus, batch_tokens: int) -> BitlensError:
    longest = int(corpus.lengths.max())
    if longest > batch_tokens:
        return DataError(
            f"A row of {longest} tokens does not fit a batch of {batch_tokens}.",
            "batches that hold the longest row.",
            "a larger batch, or a smaller --context.",
        )
    return DataError(
        f"A group of {least_batch(corpus)} tokens does not fit a batch of {batch_tokens}.",
        "batches that hold the largest group, its rows padded to the longest of them.",
        "a larger batch, or smaller groups.",
    )


def _batch(corpus: Corpus, row: NDArray[np.int64], subset: bool, pad_id: int) -> Batch:
    rows = [corpus.rows[n] for n in row]
    lengths = np.array([len(ids) for ids in rows])
    tokens = np.full((len(rows), lengths.max()), pad_id, np.int64)
    tokens[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(rows)
    mark = None
    if corpus.groups is not None:
        mark = np.full_like(tokens, NONE)
        mark[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(
            [corpus.groups.mark[n] for n in row]
        )
    return Batch(
        tokens=tokens,
        lengths=lengths,
        document=corpus.document[row],
        offset=corpus.starts[row],
        row=row,
        subset=subset,
        mark=mark,
    )
