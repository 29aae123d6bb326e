"""Intervals: exact where a textbook has the answer, honest by simulation elsewhere."""

import numpy as np
import pytest
from scipy import stats

from bitlens.results.records import Metric, Value, to_json
from bitlens.results.stats.intervals import interval, jackknife
from bitlens.results.stats.replicates import assign, bootstrap, leave_one_out


def metric(scale="linear", **fields):
    return Metric("m", "How much?", unit="nats", worse="higher", intact=0.0, scale=scale, **fields)


def value(numbers, documents=None, **fields):
    numbers = [float(number) for number in numbers]
    return Value(
        metric="m",
        site="logits",
        item="",
        value=numbers[0],
        replicates=tuple(numbers[1:]),
        documents=documents or 20,
    )


def leave_out(shards):
    """Value and replicates of the mean over shards."""
    weights = leave_one_out(np.ones(len(shards), dtype=bool))
    return weights @ shards / weights.sum(axis=1)


def test_interval_of_a_mean_is_the_textbook_one():
    """The jackknife of a mean is mean -+ t * sem, by scipy."""
    shards = np.random.default_rng(0).standard_normal(20)
    found = jackknife(value(leave_out(shards)), metric())
    low, high = stats.t.interval(0.95, 19, shards.mean(), stats.sem(shards))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


def test_jackknife_worked_by_hand():
    """Shards 1, 2, 6: mean 3, standard error sqrt(7/3), t(2) = 4.303."""
    found = jackknife(value(leave_out(np.array([1.0, 2.0, 6.0]))), metric())
    assert found.value == 3
    assert found.high - 3 == pytest.approx(4.30265 * np.sqrt(7 / 3), rel=1e-5)
    assert 3 - found.low == pytest.approx(found.high - 3)


def textbook(numbers):
    """`[2]`: the value, which is the first, -+ Student's t times the jackknife's standard error."""
    whole, left_out = numbers[0], numbers[1:]
    n = len(left_out)
    error = np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    return whole + stats.t.ppf(0.975, n - 1) * error * np.array([-1, 1])


@pytest.mark.parametrize(
    ("scale", "forward", "inverse"),
    [
        ("log", np.log, np.exp),
        ("log1m", lambda x: np.log(1 - x), lambda t: 1 - np.exp(t)),
        ("atanh", np.arctanh, np.tanh),
        ("logit", lambda x: np.log(x / (1 - x)), lambda t: 1 / (1 + np.exp(-t))),
    ],
)
def test_scaled_interval_is_the_linear_one_carried_back(scale, forward, inverse):
    """The interval on a scale is the linear interval of the mapped numbers, mapped back."""
    numbers = leave_out(np.random.default_rng(1).uniform(0.2, 0.9, 20))
    found = jackknife(value(numbers), metric(scale))
    expected = sorted(inverse(textbook(forward(numbers))))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("scale", "edge"), [("log", 0.0), ("log1m", 1.0), ("atanh", 1.0), ("logit", 0.0)]
)
def test_intact_value_is_a_point(scale, edge):
    """A model against itself stands at the edge of its scale and has an interval of no width."""
    found = jackknife(value([edge] * 21), metric(scale))
    assert (found.low, found.value, found.high) == (edge, edge, edge)


@pytest.mark.parametrize(
    ("scale", "edge", "inner", "lowest", "highest"),
    [
        ("log", 0.0, 0.1, 0, np.inf),
        ("log1m", 1.0, 0.9, -np.inf, 1),
        ("atanh", -1.0, -0.9, -1, 1),
        ("logit", 1.0, 0.9, 0, 1),
    ],
)
def test_edge_falls_back_to_the_number_itself(scale, edge, inner, lowest, highest):
    """A value or replicate at the edge: built on the number and cut at the edge."""
    for numbers in ([inner] * 20 + [edge], [edge] * 20 + [inner]):
        found = jackknife(value(numbers), metric(scale))
        low, high = textbook(np.array(numbers))
        assert low < high
        assert found.low == pytest.approx(max(low, lowest))
        assert found.high == pytest.approx(min(high, highest))


def test_value_out_of_range_keeps_inside_its_interval():
    """Rounding can make a KL of -1e-9: the interval still holds it."""
    found = jackknife(value([-1e-9, *np.linspace(-2e-9, 1e-9, 20)]), metric("log"))
    assert found.low == -1e-9 < found.high


def test_an_interval_too_wide_for_a_number_says_so():
    """Two documents with KLs of 1e-300 and 1 have no bounds to print, and no infinity either."""
    found = jackknife(value([0.5, 1e-300, 1.0], documents=2), metric("log"))
    assert found.low is None
    assert "differ by more" in found.reason
    to_json(vars(found))


@pytest.mark.parametrize(
    ("given", "which", "reason"),
    [
        (value([0.5], documents=1), metric(), "at least 2 documents, there is 1"),
        (value([0.5], documents=50), metric(), "no replicates"),
        (value([0.5] * 21), metric(interval=False), "leaving documents out"),
        (
            Value(metric="m", site="s", item="", value=None, reason="empty corpus"),
            metric(),
            "empty corpus",
        ),
        (Value(metric="m", site="s", item="", value=None), metric(), "no value"),
    ],
)
@pytest.mark.parametrize("method", ["jackknife", "bootstrap"])
def test_no_interval_has_a_reason(given, which, reason, method):
    """One document, no replicates at all, no value: a reason, and the value where known."""
    found = interval(given, which, method)
    assert (found.low, found.high) == (None, None)
    assert found.value == given.value
    assert reason in found.reason


def test_bootstrap_is_scipys_percentile_bootstrap():
    """The interval from many draws of documents is that of scipy.stats.bootstrap."""
    documents = np.random.default_rng(5).lognormal(size=40)
    weights = bootstrap(np.ones(40, dtype=bool), draws=20_000, seed=1)
    found = interval(value(weights @ documents / 40), metric(), "bootstrap")
    oracle = stats.bootstrap(
        (documents,), np.mean, n_resamples=20_000, method="percentile", rng=2
    ).confidence_interval
    width = oracle.high - oracle.low
    assert abs(found.low - oracle.low) < 0.03 * width
    assert abs(found.high - oracle.high) < 0.03 * width


def correlated(rng, documents, tokens, between=0.7):
    """Standard normal `[documents, tokens]` with a share `between`^2 owed to the document."""
    effect = rng.standard_normal((documents, 1))
    noise = rng.standard_normal((documents, tokens))
    return between * effect + np.sqrt(1 - between**2) * noise


def share(total):
    return total[:, 0] / total[:, 1]


def pearson(total):
    return total[:, 2] / np.sqrt(total[:, 0] * total[:, 1])


POPULATIONS = {
    # scale: sums of one token from its score and noise, what is made of them, and the truth
    "linear": (lambda z, e: [z, np.ones_like(z)], share, 0.0),
    "log": (lambda z, e: [np.exp(z), np.ones_like(z)], share, np.exp(0.5)),
    "log1m": (lambda z, e: [np.exp(0.5 * z), 4 + e], lambda s: 1 - share(s), 1 - np.exp(1 / 8) / 4),
    "atanh": (lambda z, e: [z**2, (z + e) ** 2, z * (z + e)], pearson, np.sqrt(0.5)),
    "logit": (lambda z, e: [z < -1, np.ones_like(z)], share, stats.norm.cdf(-1)),
    "ratio": (lambda z, e: [np.exp(z), np.exp(0.5 * z + 0.5 * e)], share, np.exp(0.25)),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_intervals_hold_the_truth(name):
    """Nominal 95 % covers at least 91 % with documents as units, far less with tokens."""
    sums, finish, truth = POPULATIONS[name]
    scale = "log" if name == "ratio" else name
    rng = np.random.default_rng(7)
    repetitions, documents, tokens = 600, 60, 32
    held = {"documents": 0, "tokens": 0}
    shard = {
        "documents": np.repeat(assign([tokens] * documents, list(range(documents))), tokens),
        "tokens": rng.permutation(np.arange(documents * tokens) % 20),
    }
    weights = leave_one_out(np.ones(20, dtype=bool))
    for _ in range(repetitions):
        z = correlated(rng, documents, tokens)
        token = np.stack(sums(z, correlated(rng, documents, tokens)), axis=-1).reshape(
            documents * tokens, -1
        )
        for unit, where in shard.items():
            by_shard = np.stack([np.bincount(where, column) for column in token.T], axis=1)
            found = jackknife(value(finish(weights @ by_shard)), metric(scale))
            held[unit] += found.low <= truth <= found.high
    assert 0.91 <= held["documents"] / repetitions <= 0.98
    assert held["tokens"] / repetitions < 0.75
