"""The arithmetic of circuits, by hand."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from bitlens.analyses.causal import measures
from bitlens.analyses.causal.measures import Means, PairWeights
from bitlens.analyses.causal.scores import PairScores


def means(clean: float, corrupt: float) -> Means:
    return Means(np.array([clean]), np.array([corrupt]))


def test_effects_are_shares_of_the_models_own_gap() -> None:
    """Clean 3, corrupt -1: a gap of 4. On the corrupt prompt 0 comes back 1 of it; on the clean
    prompt 1 takes away 2 of it; a circuit with 2 on the clean prompt has 3 of it, where no node
    at all has -1, and half of what no node at all with 1 leaves."""
    base = means(3, -1)
    assert base.gap == 4
    assert measures.denoising(base, means(3, 0)) == 0.25
    assert measures.noising(base, means(1, -1)) == 0.5
    assert measures.faithfulness(base, means(2, -1), means(-1, -1)) == 0.75
    assert measures.faithfulness(base, means(2, -1), means(1, -1)) == 0.5


def test_areas_under_faithfulness() -> None:
    """Of 0, 0.5 and 1.5 at shares of 0, 0.25 and 0.5, and 1 at all: trapezoids of 0.0625, 0.25 and
    0.625. The distance to 1 is 1, 0.5, 0.5 and 0: 0.1875, 0.125 and 0.125."""
    cpr, cmd = measures.areas([0.25, 0.5], np.array([[0.5], [1.5]]))
    assert cpr == pytest.approx([0.9375])
    assert cmd == pytest.approx([0.4375])


def test_ranks_agree_with_scipy() -> None:
    """Spearman's, with ties, under every replicate."""
    draw = np.random.default_rng(0)
    one, other = draw.integers(0, 5, (2, 3, 12)).astype(float)
    found = measures.rank_correlation(one, other)
    known = [spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)]
    assert found == pytest.approx(known)


def test_top_nodes_are_those_of_largest_effect_of_either_sign() -> None:
    """The two largest are nodes 0 and 2, and 2 and 3: half of them are the same."""
    one, other = np.array([[0.9, 0.1, -0.8, 0.0]]), np.array([[0.1, 0.2, 0.7, -0.6]])
    assert measures.top_overlap(one, other, 2) == 0.5


def test_pairs_are_the_unit() -> None:
    """Forty pairs make twenty shards of two, and a replicate leaves out one; the interval is the
    textbook one of the shards' means."""
    weights = PairWeights.of(40, "jackknife", 0)
    values = np.random.default_rng(1).normal(size=40)
    mean = Means.of(PairScores(values, values), weights.pairs).clean
    assert mean[0] == pytest.approx(values.mean())
    assert mean[1] == pytest.approx(values[2:].mean())
    low, high = weights.bounds(mean[:, None])
    shards = values.reshape(20, 2).mean(axis=1)
    half = 2.093024 * shards.std(ddof=1) / np.sqrt(20)
    assert (high - low) / 2 == pytest.approx([half], rel=1e-5)


def test_halves_are_apart_and_hold_both_kinds_of_prompts() -> None:
    """Kinds of prompts take turns, and so do the halves, by twos."""
    weights = PairWeights.of(40, "jackknife", 0)
    first, second = weights.half(first=True)[0], weights.half(first=False)[0]
    assert (first + second).tolist() == [1] * 40
    assert first[0::2].sum() == first[1::2].sum() == 10


def test_circuits_have_some_nodes_and_never_all() -> None:
    """Of few nodes the same number is tried once."""
    assert measures.sizes_of(36) == [2, 4, 7, 11, 14, 22]
    assert measures.sizes_of(3) == [1, 2]


def test_intervals_of_many_numbers_at_once() -> None:
    """Bonferroni: of ten each has Student's t at 0.25 % on either side, with 19 degrees, in place
    of 2.5 %: 3.174 for 2.093."""
    weights = PairWeights.of(40, "jackknife", 0)
    values = np.random.default_rng(0).normal(size=(21, 3))
    one, ten = (weights.bounds(values, at_once)[1] - values[0] for at_once in (1, 10))
    np.testing.assert_allclose(ten / one, 3.17372 / 2.09302, rtol=1e-4)
