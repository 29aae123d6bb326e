"""Twin against control: the permutation is right by hand, by scipy and under the null."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bitlens.results.records import Metric, Value
from bitlens.results.stats.contrasts import DRAWS, contrasts, sign_flip
from bitlens.results.stats.replicates import bootstrap, leave_one_out

KL = Metric("kl", "How far?", unit="nats", worse="higher", intact=0.0, scale="log")
LARGEST = Metric("max", "", unit="", worse=None, intact=0.0)
MEAN = Metric("mean", "How much?", unit="nats", worse="higher", intact=0.0)


def value(shards, weights=None, documents=None):
    """The mean over shards with its replicates."""
    shards = np.asarray(shards, dtype=float)
    weights = leave_one_out(np.ones(len(shards), dtype=bool)) if weights is None else weights
    numbers = (weights @ shards / weights.sum(axis=1)).tolist()
    return Value(
        metric="m",
        site="s",
        item="",
        value=numbers[0],
        replicates=tuple(numbers[1:]),
        documents=documents or len(shards),
    )


def test_three_shards_worked_by_hand():
    """Of the sums of +-1 +-2 +-3, 2 in 8 are as large as 6 and 6 in 8 as large as 1 - 2 + 3."""
    differences = np.array([[1.0, 1.0], [2.0, -2.0], [3.0, 3.0]])
    assert sign_flip(differences).tolist() == [0.25, 0.75]


@pytest.mark.parametrize("n", [2, 9, 15])
def test_enumeration_agrees_with_scipy(n):
    """Up to 15 shards p is that of scipy's exact permutation test."""
    differences = np.random.default_rng(n).normal(0.4, 1, n)
    oracle = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(differences[:, None])[0] == pytest.approx(oracle.pvalue, abs=1e-12)


def test_draws_agree_with_scipy():
    """Beyond 15 shards p is near scipy's, within what two times 10,000 draws allow."""
    differences = np.random.default_rng(3).normal(0.35, 1, 20)
    oracle = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=10_000, rng=1
    ).pvalue
    found = sign_flip(differences[:, None])[0]
    assert abs(found - oracle) < 4 * np.sqrt(2 * oracle * (1 - oracle) / DRAWS)


def test_p_is_never_zero():
    """The largest difference there can be has p = 2 / 2^n, or one in 10,001."""
    assert sign_flip(np.ones((5, 1)))[0] == 2 / 32
    assert sign_flip(np.ones((20, 1)))[0] >= 1 / (1 + DRAWS)
    assert sign_flip(np.ones((20, 1)))[0] < 3 / (1 + DRAWS)


@pytest.mark.parametrize("n", [8, 20])
def test_no_difference_is_no_finding(n):
    """Twins equal to their control in every shard have p = 1."""
    assert sign_flip(np.zeros((n, 3))).tolist() == [1, 1, 1]


@pytest.mark.parametrize("n", [12, 20])
def test_p_is_uniform_under_the_null(n):
    """Where twin and control are interchangeable p is uniform (Kolmogorov-Smirnov)."""
    shards = np.random.default_rng(11).lognormal(size=(2, n, 600))
    p = sign_flip(shards[0] - shards[1])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert stats.kstest(sign_flip(shards[0] - 0.7 * shards[1]), "uniform").pvalue < 1e-6


def test_contrast_of_means_is_the_paired_test():
    """For means over shards the interval is scipy's paired t, and p that of the raw shards."""
    rng = np.random.default_rng(2)
    twin, control = rng.lognormal(size=(2, 20))
    (found,) = contrasts([(value(twin), value(control), MEAN)])
    low, high = stats.ttest_rel(twin, control).confidence_interval()
    assert found.difference == pytest.approx((twin - control).mean())
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p == sign_flip((twin - control)[:, None])[0]
    assert found.documents == 20
    assert found.reason is None


def test_test_is_made_on_the_metrics_scale():
    """With logarithms p is that of n ln x - (n - 1) ln x(s), twin minus control."""
    rng = np.random.default_rng(4)
    twin, control = (value(rng.lognormal(size=8)) for _ in range(2))
    (found,) = contrasts([(twin, control, KL)])
    pseudo = [8 * np.log(v.value) - 7 * np.log(np.array(v.replicates)) for v in (twin, control)]
    assert found.p == sign_flip((pseudo[0] - pseudo[1])[:, None])[0]
    assert found.p != sign_flip(rng.lognormal(size=(8, 1)))[0]


def test_pairing_removes_what_documents_share():
    """A small but constant difference is found though documents differ far more."""
    shards = np.random.default_rng(5).lognormal(sigma=2, size=20)
    (found,) = contrasts([(value(1.1 * shards), value(shards), KL)])
    assert found.p < 0.001


def test_control_without_any_change_can_be_compared():
    """A control with KL 0 has no logarithm; the comparison is made on the numbers."""
    shards = np.random.default_rng(6).uniform(1, 2, 20)
    (found,) = contrasts([(value(shards), value(np.zeros(20)), KL)])
    assert found.difference == pytest.approx(shards.mean())
    assert found.low > 0
    assert found.p < 0.001


def test_many_contrasts_are_those_made_one_by_one():
    """Rows with 5, 12 and 20 shards, mixed with incomparable ones, keep their places."""
    rng = np.random.default_rng(8)
    pairs = [
        (value(rng.lognormal(size=n)), value(rng.lognormal(size=n)), KL)
        for n in (5, 20, 12, 20, 1, 5) * 40
    ]
    together = contrasts(pairs)
    assert together[:6] == [contrasts([pair])[0] for pair in pairs[:6]]
    assert [c.p is None for c in together] == [n == 1 for n in (5, 20, 12, 20, 1, 5) * 40]


SKIPPED = Value(metric="m", site="s", item="", value=None, reason="skipped")


@pytest.mark.parametrize(
    ("twin", "control", "metric", "reason"),
    [
        (value(np.ones(5)), value(np.ones(4)), KL, "not measured on the same documents"),
        (value(np.ones(5)), value(np.ones(5), documents=9), KL, "not measured on the same"),
        (value(np.ones(1)), value(np.ones(1)), KL, "twin: no interval: it takes at least 2"),
        (SKIPPED, value(np.ones(5)), KL, "twin: skipped"),
        (value(np.ones(5)), SKIPPED, KL, "control: skipped"),
        (value(np.ones(5)), value(np.ones(5)), replace(LARGEST, interval=False),
         "leaving documents out"),
        (value(np.ones(5)), value(np.ones(5)), replace(LARGEST, quantile=0.999), "percentile 99.9"),
    ],
)  # fmt: skip
def test_incomparable_values_say_why(twin, control, metric, reason):
    """Other documents, too few, no value, far percentiles and what has no replicate: no p."""
    (found,) = contrasts([(twin, control, metric)])
    assert reason in found.reason
    assert (found.low, found.high, found.p) == (None, None, None)
    assert (found.difference is None) == (None in (twin.value, control.value))


def test_bootstrap_gives_an_interval_but_no_p():
    """Draws of documents have no pseudo-values; the interval is that of the paired draws."""
    shards = np.random.default_rng(9).lognormal(size=(2, 30))
    weights = bootstrap(np.ones(30, dtype=bool), draws=2000)
    twin, control = (value(s, weights) for s in shards)
    (found,) = contrasts([(twin, control, MEAN)], method="bootstrap")
    expected = np.quantile(np.subtract(twin.replicates, control.replicates), [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.p is None
    assert found.reason is None
