"""Random tokens that say themselves twice: laws, and what cannot be made."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitlens.data.repeated_tokens import SHORTEST, repeated
from bitlens.errors import BitlensError

TOKENS = np.arange(10, 200)


@given(
    bos=st.sampled_from([None, 3]),
    context=st.integers(9, 250),
    periods=st.lists(st.integers(4, 80), min_size=1, max_size=4),
    count=st.integers(1, 9),
    seed=st.integers(0, 5),
)
def test_sequences_repeat_themselves(
    bos: int | None, context: int, periods: list[int], count: int, seed: int
) -> None:
    """Each is BOS, where there is one, and distinct ordinary tokens twice in a row; periods take
    turns, cut to what the context holds; each is a document of one window."""
    corpus = repeated(TOKENS, bos, context, periods, count, seed)
    start = bos is not None
    assert len(corpus.rows) == corpus.n_documents == len(corpus.document_names) == count
    assert corpus.document.tolist() == list(range(count))
    assert not corpus.starts.any()
    for number, row in enumerate(corpus.rows):
        period = min(periods[number % len(periods)], (context - start) // 2)
        assert len(row) == 2 * period + start <= context
        first, second = row[start : start + period], row[start + period :]
        assert (first == second).all()
        assert len(set(first.tolist())) == period
        assert np.isin(first, TOKENS).all()
        assert not start or row[0] == bos
    assert corpus.context == max(map(len, corpus.rows))
    assert (corpus.bos, corpus.bos_id) == (start, bos)


def test_every_sequence_is_drawn_by_itself() -> None:
    """Another number of sequences, or another period elsewhere, changes none; another seed, all;
    and tokens are drawn evenly."""
    first = repeated(TOKENS, None, 100, [25], 3, 0)
    more = repeated(TOKENS, None, 100, [25, 25, 25, 40], 300, 0)
    other = repeated(TOKENS, None, 100, [25], 3, 1)
    for number in range(3):
        assert (first.rows[number] == more.rows[number]).all()
        assert (first.rows[number] != other.rows[number]).any()
    assert len({tuple(row) for row in more.rows}) == 300
    counts = np.bincount(np.concatenate([row[: len(row) // 2] for row in more.rows]))[10:]
    assert len(counts) == 190
    assert counts.min() > 0.4 * counts.mean()
    assert counts.max() < 1.7 * counts.mean()


def test_few_tokens_shorten_the_period() -> None:
    """Without replacement, a sequence cannot be longer than there are tokens."""
    corpus = repeated(np.arange(7), None, 100, [25], 2, 0)
    assert {len(row) for row in corpus.rows} == {14}


@pytest.mark.parametrize(
    ("tokens", "bos", "context"),
    [
        (190, None, 2 * SHORTEST - 1),
        (190, 3, 2 * SHORTEST),
        (SHORTEST - 1, None, 100),
        (0, None, 100),
    ],
)
def test_too_short_a_context_is_refused(tokens: int, bos: int | None, context: int) -> None:
    """There must be something to repeat; the error says how much room there is, and a way out."""
    with pytest.raises(BitlensError) as caught:
        repeated(TOKENS[:tokens], bos, context, [25], 2, 0)
    assert str(context) in caught.value.found
    assert "--context" in caught.value.remedy
    repeated(TOKENS, bos, 2 * SHORTEST + (bos is not None), [25], 2, 0)


def test_what_was_cut_is_said() -> None:
    """A period that the context cannot hold is shorter, and the corpus has a note of it."""
    tokens = np.arange(100)
    assert repeated(tokens, None, 64, (4, 8), 4, 0).notes == ()
    (note,) = repeated(tokens, None, 20, (4, 50), 4, 0).notes
    assert "of 50 tokens were cut to 10" in note
