"""Intervals and p-values that hold wherever a run stops: by hand, and their coverage by
simulation."""

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import norm

from bitlens.results.records import Metric, Value
from bitlens.results.stats.any_stop import boundary, level_at_any_stop, p_at_any_stop
from bitlens.results.stats.contrasts import contrasts

SHARDS, LOOKS, RUNS = 20, 30, 1000


def test_the_boundary_by_hand() -> None:
    """rho^2 is (5.991 + ln 6.991) / 100 = 0.07936, so that x of 100 documents is 7.936."""
    assert boundary(100) == pytest.approx(
        np.sqrt(2 * (1 + 1 / 7.936) * np.log(2.9893 / 0.05)), 1e-4
    )
    assert boundary(20) == pytest.approx(3.364, abs=1e-3)
    assert 1.96 < boundary(100) < boundary(400) < boundary(5000) < 3.5


def test_the_level_is_that_of_the_boundary() -> None:
    """Twice the normal distribution's tail beyond it is missing from one."""
    assert 1 - level_at_any_stop(80) == pytest.approx(2 * norm.sf(boundary(80)), rel=1e-9)


def test_p_is_the_least_alpha_that_leaves_out_the_null() -> None:
    """Where z is at the boundary of 95 % p is 5 %; a p that says nothing stays at 1."""
    at = 2 * norm.sf(boundary(60))
    assert p_at_any_stop(at, 60) == pytest.approx(0.05, rel=1e-6)
    assert p_at_any_stop(0.04, 60) > 0.3
    assert p_at_any_stop(1.0, 60) == 1.0


def looked_at(spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of documents whose numbers are lognormal, `[runs, looks]`: how far the log of their mean is
    from that of the truth, and its standard error by leaving out shards; and documents a look."""
    drawn = np.random.default_rng(0).lognormal(0, spread, (RUNS, LOOKS, SHARDS))
    sums = drawn.cumsum(axis=1)
    documents = SHARDS * np.arange(1, LOOKS + 1)
    whole = sums.sum(axis=2)
    left = np.log((whole[:, :, None] - sums) / (documents * (1 - 1 / SHARDS))[:, None])
    error = np.sqrt((SHARDS - 1) * left.var(axis=2))
    return np.log(whole / documents) - spread**2 / 2, error, documents


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_coverage_wherever_one_stops(spread: float) -> None:
    """At all of thirty looks at once the interval holds the truth in 95 of 100 runs, and where a
    run stops; the usual one, looked at as often, in no more than 75, of skewed documents too."""
    off, error, documents = looked_at(spread)
    sure = np.array([level_at_any_stop(int(n)) for n in documents])
    half = stdtrit(SHARDS - 1, (1 + sure) / 2) * error
    usual = stdtrit(SHARDS - 1, 0.975) * error
    assert (np.abs(off) <= half).all(axis=1).mean() >= 0.945
    assert (np.abs(off) <= usual).all(axis=1).mean() < 0.75
    narrow = np.expm1(half) <= 0.15
    stop = np.where(narrow.any(axis=1), narrow.argmax(axis=1), LOOKS - 1)
    assert (np.abs(off) <= half)[np.arange(RUNS), stop].mean() >= 0.97


def test_a_contrast_of_a_stopped_run_is_wider_and_less_sure() -> None:
    """The same numbers give an interval that is wider, and a larger p."""
    metric = Metric("kl", "", unit="nats", worse="higher", intact=0.0)
    shards = np.linspace(0.9, 1.1, SHARDS)

    def value(numbers: np.ndarray) -> Value:
        left = (numbers.sum() - numbers) / (SHARDS - 1)
        return Value(
            metric="kl",
            site="",
            item="",
            value=float(numbers.mean()),
            replicates=tuple(left.tolist()),
            documents=40,
        )

    pairs = [(value(shards), value(np.roll(shards, 3) - 0.05), metric)]
    (fixed,), (stopped,) = contrasts(pairs), contrasts(pairs, stopped=True)
    assert stopped.difference == fixed.difference
    assert stopped.low < fixed.low < fixed.high < stopped.high
    assert stopped.p > fixed.p
