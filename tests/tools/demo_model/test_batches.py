"""The rows of a step depend on the seed and the step alone."""

import numpy as np

from tools.demo_model.batches import IGNORED, Corpus, Phase, batch, repeated_row, text_row

BOS, EOS = 0, 1
PHASE = Phase(n_steps=1, context=12, n_rows=6, n_repeated=3, shortest_period=2, longest_period=5)
DOCUMENTS = [np.arange(100, 130), np.arange(200, 204), np.arange(300, 350)]


def test_a_step_can_be_drawn_alone() -> None:
    """Step 7 is the same whether or not steps 0 to 6 were drawn before."""
    corpus = Corpus.of(DOCUMENTS, EOS)
    ordinary = np.arange(2, 90)
    alone = batch(PHASE, 7, 1, corpus, BOS, ordinary)
    for step in range(8):
        last = batch(PHASE, step, 1, corpus, BOS, ordinary)
    assert all(np.array_equal(a, b) for a, b in zip(alone, last, strict=True))
    assert not np.array_equal(alone[0], batch(PHASE, 8, 1, corpus, BOS, ordinary)[0])


def test_repeated_rows_repeat() -> None:
    """[BOS] A A: token t equals token t - period, and no token occurs twice in A."""
    row = repeated_row(np.random.default_rng(0), 12, 5, BOS, np.arange(2, 90))
    assert row[0] == BOS
    assert len(row) == 12
    assert np.array_equal(row[6:], row[1:-5])
    assert len(set(row[1:6])) == 5


def test_text_rows_stay_in_one_document() -> None:
    """A window never runs from one file into the next; each document's ends are reached."""
    corpus = Corpus.of(DOCUMENTS, EOS)
    generator = np.random.default_rng(0)
    rows = [text_row(generator, corpus, 12, BOS) for _ in range(400)]
    assert all(row[0] == BOS and BOS not in row[1:] for row in rows)
    assert all(len(set(row[row > EOS] // 100)) == 1 for row in rows)
    assert all(EOS not in row[:-1] for row in rows)
    assert {100, 200, 300} <= {row[1] for row in rows}
    assert {row[-2] for row in rows if row[-1] == EOS} == {129, 203, 349}


def test_nothing_is_learnt_from_padding() -> None:
    """Short documents are filled up with BOS that no loss is taken on."""
    corpus = Corpus.of([np.arange(200, 204)], EOS)
    ids, labels = batch(PHASE, 0, 1, corpus, BOS, np.arange(2, 90))
    assert ids.shape == labels.shape == (6, 12)
    assert (labels[3:, 6:] == IGNORED).all()
    assert (labels[:, :6] == ids[:, :6]).all()
