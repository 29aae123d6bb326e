"""Laws of batches: every row once, equal lengths together, within the size."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitlens.data.batches import least_batch, make_batches
from bitlens.data.corpus import Corpus
from bitlens.data.groups import Groups
from bitlens.errors import BitlensError
from tests.support.corpora import SHAPES, CorpusOf


@given(shape=SHAPES, size=st.integers(12, 80), seed=st.integers(0, 9), data=st.data())
def test_every_row_is_in_one_batch(
    corpus_of: CorpusOf, shape: list[list[int]], size: int, seed: int, data: st.DataObject
) -> None:
    """Each row comes once, unchanged, with its document and place; no batch is too large."""
    corpus = corpus_of(shape, seed=seed)
    n = len(shape)
    subset = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    batches = make_batches(corpus, size, subset, pad_id=49)
    order = np.concatenate([batch.row for batch in batches])
    assert sorted(order) == list(range(len(corpus.rows)))
    lengths = np.concatenate([batch.lengths for batch in batches])
    flags = np.concatenate([np.full(len(batch.row), batch.subset) for batch in batches])
    assert (flags == subset[corpus.document[order]]).all()
    for part in (lengths[flags], lengths[~flags]):
        assert (np.diff(part) <= 0).all(), "rows of one length are apart"
    for batch in batches:
        assert batch.tokens.size <= size
        assert batch.tokens.dtype == np.int64
        assert batch.tokens.shape[1] == batch.lengths.max()
        assert (batch.mask.sum(1) == batch.lengths).all()
        assert batch.padded == (not batch.mask.all())
        assert (batch.tokens[~batch.mask] == 49).all()
        assert (batch.document == corpus.document[batch.row]).all()
        assert (batch.offset == corpus.starts[batch.row]).all()
        for tokens, length, row in zip(batch.tokens, batch.lengths, batch.row, strict=True):
            assert (tokens[:length] == corpus.rows[row]).all()


def test_batches_by_hand(corpus_of: CorpusOf) -> None:
    """Longest first, then document, then place; as many rows as fit at the width of the first."""
    corpus = corpus_of([[2], [5, 3], [5, 5, 3]])
    batches = make_batches(corpus, 11)
    assert [batch.row.tolist() for batch in batches] == [[1, 3], [4, 2], [5, 0]]
    assert [batch.padded for batch in batches] == [False, True, True]
    chosen = make_batches(corpus, 11, np.array([False, True, False]))
    assert [(batch.row.tolist(), batch.subset) for batch in chosen] == [
        ([1, 2], True),
        ([3, 4], False),
        ([5, 0], False),
    ]


def test_targets_are_the_tokens_that_follow(corpus_of: CorpusOf) -> None:
    """The target is the next token of the same row; the last token and pads have none."""
    (batch,) = make_batches(corpus_of([[4], [2], [1]]), 12)
    rows = [batch.tokens[n, :length].tolist() for n, length in enumerate(batch.lengths)]
    assert batch.target.tolist() == [
        [*rows[0][1:], -1],
        [*rows[1][1:], -1, -1, -1],
        [-1, -1, -1, -1],
    ]


def test_plan_of_a_part_is_part_of_nothing_else(corpus_of: CorpusOf) -> None:
    """Selected documents are batched under the ids they have in the whole corpus."""
    corpus = corpus_of([[4, 4], [3], [4]])
    (batch,) = make_batches(corpus.select([0, 2]), 100, np.array([True, False, True]))
    assert batch.document.tolist() == [0, 0, 2]
    assert batch.offset.tolist() == [0, 4, 0]
    assert batch.subset
    assert make_batches(corpus.select([]), 100) == []


def test_row_that_does_not_fit_is_refused(corpus_of: CorpusOf) -> None:
    """A batch size is kept or refused, never stretched."""
    with pytest.raises(BitlensError, match="A row of 9 tokens does not fit a batch of 8"):
        make_batches(corpus_of([[9], [3]]), 8)


def grouped(corpus: Corpus, sizes: Sequence[int]) -> Corpus:
    """The first documents in groups of these sizes, the others in none; each token's mark is its
    place in the row."""
    first = np.full(len(corpus.document_names), -1)
    begin = 0
    for size in sizes:
        first[begin : begin + size] = begin
        begin += size
    mark = tuple(np.arange(len(row)) for row in corpus.rows)
    groups = Groups(first=first, label=np.full(len(first), -1), labels=(), mark=mark)
    return replace(corpus, groups=groups)


@given(shape=SHAPES, sizes=st.lists(st.integers(1, 4), max_size=5), more=st.integers(0, 60))
def test_a_group_is_never_split(
    corpus_of: CorpusOf, shape: list[list[int]], sizes: list[int], more: int
) -> None:
    """Whatever the size of batches, from the least on: all rows of a group are in one, each comes
    once, and marks stay on their tokens."""
    sizes = [size for n, size in enumerate(sizes) if sum(sizes[: n + 1]) <= len(shape)]
    corpus = grouped(corpus_of(shape), sizes)
    least = least_batch(corpus)
    batches = make_batches(corpus, least + more)
    assert sorted(np.concatenate([b.row for b in batches])) == list(range(len(corpus.rows)))
    for batch in batches:
        assert batch.tokens.size <= least + more
        mine = np.isin(corpus.groups.first[corpus.document], corpus.groups.first[batch.document])
        in_a_group = corpus.groups.first[corpus.document] >= 0
        assert set(np.flatnonzero(mine & in_a_group)) <= set(batch.row)
        assert (batch.mark == np.where(batch.mask, np.arange(batch.mark.shape[1]), -1)).all()
    if least > corpus.lengths.max():
        with pytest.raises(BitlensError, match=f"A group of {least} tokens does not fit a batch"):
            make_batches(corpus, least - 1)


@given(shape=SHAPES, size=st.integers(12, 80))
def test_groups_of_one_row_change_no_batch(
    corpus_of: CorpusOf, shape: list[list[int]], size: int
) -> None:
    """They are where they are without."""
    shape = [list(rows[:1]) for rows in shape]
    corpus = corpus_of(shape)
    alone = grouped(corpus, [1] * len(shape))
    for one, other in zip(make_batches(corpus, size), make_batches(alone, size), strict=True):
        assert one.mark is None
        assert (one.row == other.row).all()
        assert (one.tokens == other.tokens).all()
