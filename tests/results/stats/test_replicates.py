"""Shards and replicate weights."""

import numpy as np
import pytest
from scipy import stats

from bitlens.results.stats.replicates import assign, bootstrap, bounds, leave_one_out


def test_shards_worked_by_hand():
    """The largest goes first to the lightest shard: 5 | 4 | then 3 to 4, 3 to 5, 1 to 7."""
    assert assign([3, 5, 4, 3, 1], [10, 11, 12, 13, 14], shards=2).tolist() == [1, 0, 1, 0, 1]


def test_arrival_order_does_not_matter():
    """A document's companions are the same in whatever order documents come."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 6, 200)
    keys = rng.permutation(10_000)[:200]
    here = assign(sizes.tolist(), keys.tolist())
    order = rng.permutation(200)
    there = assign(sizes[order].tolist(), keys[order].tolist())
    assert (there == here[order]).all()


def test_shards_are_balanced():
    """With many documents no shard holds more than the mean and one document."""
    sizes = np.random.default_rng(1).integers(10, 500, 300)
    tokens = np.bincount(assign(sizes.tolist(), list(range(300))), sizes)
    assert len(tokens) == 20
    assert tokens.max() - tokens.min() <= 500


def test_few_documents_have_a_shard_each():
    """Seven documents are seven shards, even where some are empty."""
    assert sorted(assign([0, 0, 3, 9, 1, 0, 2], list("abcdefg")).tolist()) == list(range(7))
    assert assign([], []).shape == (0,)


def test_sizes_and_keys_must_match():
    """A missing key is a mistake, not a shorter corpus."""
    with pytest.raises(ValueError, match="2 sizes but 1 keys"):
        assign([1, 2], [1])


def test_leave_one_out_worked_by_hand():
    """Three shards of which the second is empty: two replicates."""
    weights = leave_one_out(np.array([True, False, True]))
    assert weights.tolist() == [[1, 1, 1], [0, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize("weights", [leave_one_out, bootstrap])
def test_one_document_has_no_replicate(weights):
    """Without its only document nothing is left, and drawing it again tells nothing."""
    assert weights(np.array([False, True])).tolist() == [[1, 1]]


def test_bootstrap_draws_as_many_documents_as_there_are():
    """Each draw holds n documents, none from an empty shard, each once on average."""
    occupied = np.array([True] * 12 + [False])
    weights = bootstrap(occupied, draws=4000, seed=3)
    assert weights.shape == (4001, 13)
    assert (weights[0] == 1).all()
    assert (weights[1:].sum(axis=1) == 12).all()
    assert (weights[1:, 12] == 0).all()
    assert np.abs(weights[1:, :12].mean(axis=0) - 1).max() < 0.08
    assert weights[1:, :12].var() == pytest.approx(1 - 1 / 12, abs=0.03)
    assert (bootstrap(occupied, draws=4000, seed=3) == weights).all()
    assert (bootstrap(occupied, draws=4000, seed=4) != weights).any()


def means(documents, weights):
    """`[1 + replicates, n]` means over documents `[documents, n]` under each row of weights."""
    return weights @ documents / weights.sum(axis=1, keepdims=True)


def test_bounds_of_means_are_the_textbook_interval():
    """Leave-one-out means of 12 documents, 5 numbers each: Student's interval of scipy."""
    documents = np.random.default_rng(0).lognormal(size=(12, 5))
    weights = leave_one_out(np.ones(12, dtype=bool))
    low, high = bounds(means(documents, weights), weights)
    oracle = stats.t.interval(0.95, 11, documents.mean(axis=0), stats.sem(documents))
    assert np.allclose(low, oracle[0])
    assert np.allclose(high, oracle[1])


def test_draws_and_leaving_out_give_about_the_same_bounds():
    """The bootstrap of the same documents is no wider than it should be; nor does a shard that
    is always there, or one that is empty, change anything."""
    documents = np.random.default_rng(1).lognormal(size=(30, 5))
    occupied = np.ones(30, dtype=bool)
    jackknife = leave_one_out(occupied)
    width = np.subtract(*bounds(means(documents, jackknife), jackknife)[::-1])
    draws = bootstrap(occupied)
    drawn = np.subtract(*bounds(means(documents, draws), draws)[::-1])
    assert np.allclose(drawn, width, rtol=0.1)
    fixed = np.hstack([jackknife, np.ones((31, 1))])
    assert np.allclose(np.subtract(*bounds(means(documents, jackknife), fixed)[::-1]), width)


def test_few_documents_have_no_narrower_bounds_by_drawing():
    """Draws vary by (n - 1) / n too little, and five documents leave four degrees of freedom: the
    bootstrap of five is as wide as Student's interval, not as a normal one."""
    documents = np.random.default_rng(0).lognormal(size=(5, 6))
    weights = bootstrap(np.ones(5, dtype=bool), draws=4000)
    low, high = bounds(means(documents, weights), weights)
    oracle = stats.t.interval(0.95, 4, documents.mean(axis=0), stats.sem(documents))
    assert np.allclose(high - low, oracle[1] - oracle[0], rtol=0.1)


@pytest.mark.parametrize("shards", [0, 1])
def test_without_replicates_there_are_no_bounds(shards):
    """One shard cannot be left out."""
    weights = leave_one_out(np.arange(3) < shards)
    low, high = bounds(np.ones((1, 4)), weights)
    assert np.isnan(low).all()
    assert np.isnan(high).all()
    assert low.shape == (4,)
