"""Laws of sampled positions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitlens.data.batches import make_batches
from bitlens.data.corpus import Corpus
from bitlens.data.positions import Rule, counted
from bitlens.data.sample import batch_keys
from bitlens.engine.plan import CORPUS, make_plan
from tests.support.corpora import SHAPES, CorpusOf


def _sampled(corpus: Corpus, rule: Rule, bound: int, seed: int, size: int) -> list[tuple[int, int]]:
    """The documents and places drawn, found batch by batch as a sweep does."""
    drawn = []
    for batch in make_batches(corpus, size):
        keep = counted(batch.tokens, batch.lengths, rule, corpus.bos_id, corpus.ends[batch.row])
        row, place = np.nonzero(keep & (batch_keys(batch, seed) <= bound))
        drawn += list(zip(batch.document[row], batch.offset[row] + place, strict=True))
    return sorted(drawn)


def threshold(corpus: Corpus, rule: Rule, k: int, seed: int) -> int:
    """The key that bounds a sample of k of the corpus's counted positions."""
    return make_plan(corpus, rule, seed, 500).sets[CORPUS].threshold(k, predicting=False)


@given(
    shape=SHAPES,
    rule=st.sampled_from(["content", "all", "last"]),
    k=st.integers(1, 60),
    seed=st.integers(0, 99),
    bos=st.booleans(),
)
def test_exactly_k_positions_are_drawn(
    corpus_of: CorpusOf, shape: list[list[int]], rule: Rule, k: int, seed: int, bos: bool
) -> None:
    """The threshold lets k positions through, or all there are, whatever the batches."""
    corpus = corpus_of(shape, bos=bos, vocabulary=3)
    everything = _sampled(corpus, rule, np.iinfo(np.int64).max, seed, 12)
    bound = threshold(corpus, rule, k, seed)
    drawn = _sampled(corpus, rule, bound, seed, 12)
    assert len(drawn) == len(set(drawn)) == min(k, len(everything))
    assert drawn == _sampled(corpus, rule, bound, seed, 97)


def test_sample_is_spread_evenly(corpus_of: CorpusOf) -> None:
    """Every position is as likely as another: counts over seeds fit a uniform draw."""
    corpus = corpus_of([[10, 10], [10], [10, 10, 10]], bos=False)
    counts = np.zeros((3, 30))
    for seed in range(400):
        for document, place in _sampled(
            corpus, "all", threshold(corpus, "all", 15, seed), seed, 60
        ):
            counts[document, place] += 1
    drawn = counts[counts > 0]
    assert len(drawn) == 60
    assert drawn.sum() == 400 * 15
    # Each count is binomial with 400 draws of 1/4: mean 100, deviation 8.7; 60 of them.
    assert abs(drawn - 100).max() < 4 * 8.7
    assert drawn.std() == pytest.approx(8.7, rel=0.35)


def test_another_seed_draws_other_positions(corpus_of: CorpusOf) -> None:
    """Seeds matter, and one seed always draws the same."""
    corpus = corpus_of([[50] * 4] * 4)
    draws = [
        _sampled(corpus, "content", threshold(corpus, "content", 20, s), s, 200) for s in (0, 1, 0)
    ]
    assert draws[0] == draws[2] != draws[1]
    assert len(set(draws[0]) & set(draws[1])) < 10
