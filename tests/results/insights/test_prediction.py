"""Prediction of survival: planted causes are found, chance stays chance, nothing leaks."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bitlens.results.insights import prediction
from bitlens.results.insights.prediction import (
    BASELINE,
    BOOSTING,
    FEWEST,
    LOGISTIC,
    PEAK,
    PREDICTORS,
    REFERENCE_ONLY,
    SURVIVAL,
    described,
    predict,
    reliability,
)
from bitlens.seeds import derive
from tests.support.feature_tables import halves


def test_signal_to_noise_by_hand() -> None:
    """Mean 0.5 and sparseness 0.2: variance 0.25 * (1 / 0.2 - 1) = 1. It fires on a tenth of the
    positions with an encoder of length 2: noise 0.1 * 4 = 0.4. ln 2.5 = 0.9163."""
    one = {name: values[:1] for name, values in halves().items()}
    one |= {"mean_first": np.array([0.5]), "sparseness_first": np.array([0.2]),
            "rate_first": np.array([0.1]), "encoder_norm": np.array([2.0])}  # fmt: skip
    assert described(one)["signal to noise"][0] == pytest.approx(0.9163, abs=1e-4)


def test_the_baseline_is_the_correlation_that_noise_leaves() -> None:
    """A simulated feature with noise wherever it fires: r is 1 / sqrt(1 + rate * noise / v)."""
    draw = np.random.default_rng(0)
    fires = draw.random(200_000) < 0.05
    x = np.where(fires, draw.exponential(2, 200_000), 0)
    y = x + np.where(fires, 0.7 * draw.standard_normal(200_000), 0)
    one = {name: values[:1] for name, values in halves().items()}
    one |= {"mean_first": np.array([x.mean()]), "rate_first": np.array([fires.mean()]),
            "sparseness_first": np.array([x.mean() ** 2 / (x**2).mean()]),
            "encoder_norm": np.array([0.7])}  # fmt: skip
    ratio = np.exp(described(one)["signal to noise"][0])
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(1 / np.sqrt(1 + 1 / ratio), abs=2e-3)


def test_survival_by_peak_alone_is_found() -> None:
    """Then the peak tells nearly all, in every predictor that sees it, and probabilities hold."""
    made = halves()
    made["r_second"] = np.where(made["peak_first"] > np.median(made["peak_first"]), 0.95, 0.6)
    found = predict(made)
    assert found.reason is None
    assert found.survived == 0.5
    likely = np.array([found.chances[latent] for latent in made["latent"].tolist()]) > 0.5
    assert np.mean(likely == (made["r_second"] > 0.9)) > 0.95
    for name in (PEAK, LOGISTIC, BOOSTING):
        score = found.scores[name]
        assert score.auc > 0.98
        assert score.low <= score.auc <= score.high
        assert score.brier < found.uncertain / 2
    assert found.scores[PEAK].gain_low > 0
    assert found.scores[BASELINE].gain == found.scores[BASELINE].gain_high == 0
    assert found.scores[BASELINE].auc < 0.65
    assert found.scores[SURVIVAL].auc == 0.5


@pytest.mark.slow
def test_chance_is_chance() -> None:
    """Labels drawn at random, five times: AUC is a half on average, most intervals hold it, and
    nothing is gained over the baseline."""
    runs = []
    for seed in range(5):
        made = halves(seed=seed)
        made["r_second"] = np.random.default_rng(100 + seed).uniform(0.8, 1, 400)
        runs.append(predict(made).scores)
    for name in (BASELINE, PEAK, LOGISTIC, BOOSTING):
        scores = [scores[name] for scores in runs]
        assert np.mean([s.auc for s in scores]) == pytest.approx(0.5, abs=0.05)
        assert sum(s.low < 0.5 < s.high for s in scores) >= 4
        assert abs(np.mean([s.gain for s in scores])) < 0.06


@pytest.mark.slow
def test_near_duplicates_do_not_help() -> None:
    """Eighty directions five times each, alike in everything and in a fate drawn at random: known
    as duplicates they teach nothing; taken for others they would let boosting look it up."""
    base, draw = halves(80), np.random.default_rng(2)
    made = {name: np.repeat(values, 5) for name, values in base.items()}
    made["latent"] = np.arange(400)
    for name in ("peak_first", "encoder_norm"):
        made[name] = made[name] * np.exp(draw.normal(0, 1e-4, 400))
    made["r_second"] = np.repeat(draw.uniform(0.8, 1, 80), 5)
    honest = predict(made)
    assert honest.groups == 80
    assert honest.scores[BOOSTING].low < 0.5 < honest.scores[BOOSTING].high
    leaky = predict(made | {"group": np.arange(400)})
    assert leaky.scores[BOOSTING].auc > 0.9
    # Five times the same is not five times as much: the interval is as wide as that of 80.
    wide = honest.scores[PEAK].high - honest.scores[PEAK].low
    narrow = leaky.scores[PEAK].high - leaky.scores[PEAK].low
    assert wide > 1.7 * narrow


def test_nothing_of_the_second_half_is_seen() -> None:
    """Predictors read columns of the first half and of the SAE; what is of the reference alone
    holds neither its local error nor its r."""
    made = halves()
    described_once = described(made)
    made["r_second"] = np.zeros(400)
    assert all(np.array_equal(v, described_once[n]) for n, v in described(made).items())
    assert not {"local error", "r"} & set(REFERENCE_ONLY)
    assert set(PREDICTORS[BOOSTING]) == set(PREDICTORS[LOGISTIC]) == set(REFERENCE_ONLY)


def test_one_fold_gives_the_area_of_scikit_learn() -> None:
    """And with weights, those of a draw; the Brier score too."""
    draw = np.random.default_rng(3)
    chance, survived = draw.random(200).round(2), draw.random(200) < 0.4
    weights = np.stack([np.ones(200), draw.integers(0, 4, 200)]).astype(float)
    area = prediction._areas({"it": chance}, survived, np.zeros(200), weights.T)["it"]
    expected = [roc_auc_score(survived, chance, sample_weight=w) for w in weights]
    assert area == pytest.approx(expected)
    bins = reliability(chance, survived)
    assert sum(b.count for b in bins) == 200
    assert sum(b.count * b.survived for b in bins) == pytest.approx(survived.sum())
    made = halves()
    made["r_second"] = np.where(np.arange(400) % 3 == 0, 0.5, 0.95)
    found = predict(made)
    labels = np.arange(400) % 3 > 0
    assert found.uncertain == pytest.approx(brier_score_loss(labels, np.full(400, labels.mean())))


def test_logistic_regression_sees_the_other_folds_alone() -> None:
    """Scaled and fitted on them by scikit-learn, run to its end, fold by fold."""
    draw = np.random.default_rng(4)
    columns, fold = draw.normal(size=(150, 3)) ** 3, draw.integers(0, 5, 150)
    survived = columns[:, 0] + draw.normal(size=150) > 0
    found = prediction._out_of_fold(LOGISTIC, columns, survived, fold)
    for number in range(5):
        train, test = fold != number, fold == number
        model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-12, max_iter=10_000))
        expected = model.fit(columns[train], survived[train]).predict_proba(columns[test])[:, 1]
        assert found[test] == pytest.approx(expected, abs=1e-6)


def test_folds_are_drawn_as_scikit_learn_draws_them() -> None:
    """Groups whole, as many a fold, from the seed."""
    draw = np.random.default_rng(5)
    group = np.unique(draw.integers(0, 90, 300), return_inverse=True)[1]
    survived = draw.random(300) < 0.4
    fold = prediction._folds(survived, group, seed=3)
    assert fold is not None
    seed = derive(3, "prediction") % (1 << 32)
    expected = GroupKFold(5, shuffle=True, random_state=seed).split(survived, groups=group)
    for number, (_, test) in enumerate(expected):
        assert np.array_equal(np.flatnonzero(fold == number), test)


def test_bins_by_hand() -> None:
    """Twenty features, two a bin: the last bin has chances 0.90 and 0.95, and one of two."""
    chance = np.arange(20) / 20
    survived = np.arange(20) % 2 == 0
    last = reliability(chance, survived)[-1]
    assert (last.count, last.survived) == (2, 0.5)
    assert last.predicted == pytest.approx(0.925)


@pytest.mark.parametrize("kept", [0, FEWEST - 1, 400 - FEWEST + 1, 400])
def test_too_few_of_a_kind_is_a_reason(kept: int) -> None:
    """No number is given, and the counts are."""
    made = halves()
    made["r_second"] = np.where(np.arange(400) < kept, 0.95, 0.5)
    found = predict(made)
    assert found.reason == f"{kept:,} of 400 features survive: it takes 30 of either kind"
    assert not found.scores
    assert found.survived == kept / 400


def test_what_cannot_be_described_is_left_out() -> None:
    """Silent on a half, rare on the first, or always alike there."""
    made = halves()
    made["r_second"] = np.where(np.arange(400) % 2 == 0, 0.5, 0.95)
    made["r_second"][0] = made["r_first"][1] = np.nan
    made["rate_first"][2], made["sparseness_first"][3] = 0.0005, 1.0
    assert predict(made).features == 396


def test_one_group_of_duplicates_is_a_reason() -> None:
    """A dictionary that has collapsed has nothing to learn from and nothing to be tried on."""
    made = halves()
    made["r_second"] = np.where(np.arange(400) % 2 == 0, 0.5, 0.95)
    found = predict(made | {"group": np.zeros(400, dtype=int)})
    assert found.reason is not None
    assert "near-duplicates" in found.reason


def test_a_run_without_halves_has_a_reason() -> None:
    """Stores of a single shard, or of an older version."""
    assert predict({}).reason == "the run did not split its documents into halves"


@pytest.mark.slow
def test_without_local_errors_there_is_a_reason() -> None:
    """The other predictors go on, whether no block ran alone or the store is older than that."""
    made = halves()
    made["r_second"] = np.where(np.arange(400) % 2 == 0, 0.5, 0.95)
    whole = predict(made)
    made.pop("local_error_first")
    older = predict(made)
    assert "before it was read" in older.missing[prediction.ERROR]
    absent = predict(made | {"local_error_first": np.full(400, np.nan)})
    assert "no block of the twin" in absent.missing[prediction.ERROR]
    for found in (older, absent):
        assert set(found.scores) == set(PREDICTORS) - {prediction.ERROR}
        assert found.scores[LOGISTIC] == whole.scores[LOGISTIC]
        assert not whole.missing


def test_survival_by_local_error_is_found() -> None:
    """Of what else is known of the features nothing tells; with it nearly all is."""
    made = halves()
    error = made["local_error_first"]
    made["r_second"] = np.where(error < np.median(error), 0.95, 0.6)
    scores = predict(made).scores
    assert scores[prediction.ERROR].auc > 0.97
    assert scores[LOGISTIC].auc < 0.65
    assert scores[prediction.ERROR].gain_low > 0.2


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers() -> None:
    """Folds, trees and draws come from the seed."""
    made = halves()
    made["r_second"] = np.random.default_rng(4).uniform(0.8, 1, 400)
    assert predict(made) == predict(made)


def test_scaling_is_that_of_the_other_folds() -> None:
    """One feature far off, of the fold that is predicted: the others of its fold keep their
    probabilities."""
    draw = np.random.default_rng(0)
    columns, fold = draw.normal(size=(400, 3)), np.arange(400) % 5
    survived = columns[:, 0] + draw.normal(size=400) > 0
    far = columns.copy()
    far[0] = 1e3
    before, after = (
        prediction._out_of_fold(LOGISTIC, of, survived, fold=fold) for of in (columns, far)
    )
    rest = (fold == 0) & (np.arange(400) > 0)
    assert np.array_equal(before[rest], after[rest])
