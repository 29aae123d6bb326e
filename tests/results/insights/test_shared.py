"""Shared damage: by hand, against scipy and scikit-learn, and what chance and nesting give."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import jaccard_score, matthews_corrcoef

from bitlens.results.insights.measured import SaeFeatures, TwinFeatures
from bitlens.results.insights.shared import foremost, pairs, shared, with_noise
from tests.support.feature_tables import twin


def test_ten_features_by_hand() -> None:
    """Lost: 0 to 4 in the one, 3 to 6 in the other: 2 of both, 7 of either, J = 2 / 7. By chance
    0.5 * 0.4 / 0.7 = 2 / 7, too; at most 4 / 5. phi = (0.2 - 0.2) / ... = 0."""
    a, b = np.full(10, 0.95), np.full(10, 0.95)
    a[:5] = b[3:7] = 0.8
    (found,) = shared(twin(a), twin(b, "nf4")).overlaps
    assert (found.threshold, found.first, found.second) == (0.9, 0.5, 0.4)
    assert found.jaccard.value == pytest.approx(2 / 7) == found.chance
    assert found.ceiling == pytest.approx(0.8)
    assert found.phi is not None
    assert found.phi.value == pytest.approx(0, abs=1e-12)


def test_the_papers_own_counts() -> None:
    """Pythia: of 5,688 features 2,139 and 2,220 are lost, 2,016 of them in both: J = 0.860,
    chance 0.237, ceiling 0.963."""
    a, b = np.full(5688, 0.95), np.full(5688, 0.95)
    a[:2139] = 0.7
    b[2139 - 2016 : 2139 - 2016 + 2220] = 0.7
    found = shared(twin(a), twin(b, "prune:sparsity=0.175")).overlaps[0]
    assert found.jaccard.value == pytest.approx(0.8604, abs=5e-5)
    assert found.chance == pytest.approx(0.2370, abs=5e-4)
    assert found.ceiling == pytest.approx(0.9635, abs=5e-5)


def test_agrees_with_scipy_and_scikit_learn() -> None:
    """Ties and all, at every threshold."""
    draw = np.random.default_rng(0)
    a = (1 - 0.6 * draw.random(500)).round(2)
    b = (a - 0.2 * draw.random(500)).round(2)
    found = shared(twin(a), twin(b, "nf4"))
    assert found.spearman is not None
    assert found.spearman.value == pytest.approx(spearmanr(1 - a, 1 - b).statistic)
    assert [o.threshold for o in found.overlaps] == [0.9, 0.7, 0.5]
    for one in found.overlaps:
        lost = [r <= one.threshold for r in (a, b)]
        assert one.jaccard.value == pytest.approx(jaccard_score(*lost))
        assert one.phi is not None
        assert one.phi.value == pytest.approx(matthews_corrcoef(*lost))
        assert one.jaccard.low <= one.jaccard.value <= one.jaccard.high


def test_independent_losses_share_what_chance_gives() -> None:
    """Drawn apart: J is near chance, and its interval and that of phi hold it."""
    draw = np.random.default_rng(1)
    a, b = draw.uniform(0.8, 1, (2, 4000))
    (found,) = shared(twin(a), twin(b, "nf4")).overlaps
    assert found.jaccard.low < found.chance < found.jaccard.high
    assert found.phi is not None
    assert found.phi.low < 0 < found.phi.high


def test_two_noises_of_one_kind_share_nearly_all() -> None:
    """Two independent draws of noise, features of very different strength and no common cause:
    damage ranks alike all the same, as it did for the paper's pair."""
    draw = np.random.default_rng(2)
    strength = np.exp(draw.normal(0, 1, 5000))
    a, b = (1 / np.sqrt(1 + 0.3 * np.exp(draw.normal(0, 0.15, 5000)) / strength) for _ in range(2))
    found = shared(twin(a), twin(b, "nf4"))
    assert found.spearman is not None
    assert found.spearman.value > 0.95
    first = found.overlaps[0]
    assert first.jaccard.value > 0.85 * first.ceiling
    assert first.chance < 0.5


def test_crossed_halves_by_hand() -> None:
    """The one loses {0, 1} on the first half and {1, 2} on the second: with itself 1 / 3. The
    other {0, 1} and {0, 1}: with itself 1. Crossed: {0, 1} with {0, 1} is 1, {0, 1} with {1, 2}
    is 1 / 3."""

    def lost(*which: int) -> np.ndarray:
        return np.where(np.isin(np.arange(6), which), 0.5, 0.95)

    a = twin(lost(1), r_first=lost(0, 1), r_second=lost(1, 2))
    b = twin(lost(0, 1), "nf4", r_first=lost(0, 1), r_second=lost(0, 1))
    one = shared(a, b).overlaps[0]
    assert one.itself == pytest.approx(2 / 3) == one.crossed


def test_near_duplicates_widen_the_interval() -> None:
    """Four times the same feature is one feature: twice as wide."""
    draw = np.random.default_rng(3)
    a, b = np.repeat(draw.uniform(0.8, 1, (2, 200)), 4, axis=1)
    group = np.repeat(np.arange(200), 4)
    wide = shared(twin(a, group=group), twin(b, "nf4", group=group)).overlaps[0].jaccard
    narrow = shared(twin(a), twin(b, "nf4")).overlaps[0].jaccard
    assert 1.6 < (wide.high - wide.low) / (narrow.high - narrow.low) < 2.4


def test_nothing_lost_is_no_overlap() -> None:
    """And damage that is the same everywhere has no ranks; all lost has no phi."""
    whole, some = np.ones(20), np.where(np.arange(20) < 5, 0.8, 0.95)
    found = shared(twin(whole), twin(some, "nf4"))
    assert found.overlaps == ()
    assert found.spearman is None
    (one,) = shared(twin(np.full(20, 0.75)), twin(some, "nf4")).overlaps
    assert one.phi is None
    assert one.jaccard.value == one.ceiling == one.chance == 0.25


def test_pairs_are_of_one_seed_or_draws_of_one_noise() -> None:
    """And only where both were read on the same text."""
    r = np.where(np.arange(20) < 5, 0.8, 0.95)
    noise = "noise:like=[rtn:bits=4]"
    twins = (twin(r), twin(r, noise), twin(r, seed=1), twin(r, noise, seed=1))
    twins[3].features["mean_reference"] *= 1 + 1e-9  # Sums in another order.
    found = [(p.first.name, p.second.name) for p in pairs(SaeFeatures("m", "s", "resid.0", twins))]
    assert found == [
        ("rtn:bits=4", noise),
        (noise, f"{noise}, seed 1"),
        ("rtn:bits=4, seed 1", f"{noise}, seed 1"),
    ]
    other = twin(r, "nf4")
    other.features["rate_reference"] = np.full(20, 0.02)
    assert not list(pairs(SaeFeatures("m", "s", "resid.0", (twin(r), other))))


def test_noise_controls_of_one_seed_are_no_pair() -> None:
    """They are one draw at two sizes; each compression beside the other's is a pair."""
    r = np.where(np.arange(20) < 5, 0.8, 0.95)
    names = ("rtn:bits=4", "nf4", "noise:like=[rtn:bits=4]", "noise:like=[nf4]")
    found = [(p.first.name, p.second.name) for p in pairs(made(*(twin(r, n) for n in names)))]
    assert len(found) == 5
    assert names[2:] not in found


def made(*twins: TwinFeatures) -> SaeFeatures:
    return SaeFeatures("m", "s", "resid.0", twins)


def lost(*which: int) -> np.ndarray:
    return np.where(np.isin(np.arange(20), which), 0.8, 0.95)


def test_what_noise_shares_by_hand() -> None:
    """Of two compressions: {0, 1} with the other's noise {1, 2} is 1 / 3, {2, 3} with {0, 3} too.
    Of one and its noise: its draw {0, 3} with that of seed 1, {0}: 1 / 2."""
    one, other = "rtn:bits=4", "nf4"
    noise = [f"noise:like=[{name}]" for name in (one, other)]
    known = list(pairs(made(
        twin(lost(0, 1), one), twin(lost(2, 3), other),
        twin(lost(0, 3), noise[0]), twin(lost(1, 2), noise[1]),
        twin(lost(0), noise[0], seed=1),
    )))  # fmt: skip
    shown = foremost(known)
    assert [(p.first.name, p.second.name) for p in shown] == [
        (one, other), (one, noise[0]), (other, noise[1]),
    ]  # fmt: skip
    values = [[j.value for j in with_noise(pair, known, 0.9)] for pair in shown]
    assert values[0] == pytest.approx([1 / 3, 1 / 3])
    assert values[1:] == [[0.5], []]
    assert with_noise(shown[0], known, 0.5) == []
