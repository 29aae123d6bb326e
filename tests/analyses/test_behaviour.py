"""Behaviour: numbers worked by hand, and independent implementations to agree with."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr
from scipy.stats import entropy

from bitlens.analyses.behaviour import DP_QUANTILES, KL_QUANTILES, Behaviour, weighted_quantiles
from bitlens.engine.activations import ActivationPair
from bitlens.results.records import DetailTable
from bitlens.results.stats.replicates import bootstrap
from tests.support.by_hand import NOTHING, outcomes, pair, state, value


def logits(*probabilities: list[float]) -> torch.Tensor:
    """Logits that give these probabilities, with a shift that must not matter."""
    return torch.log(torch.tensor(probabilities)) + 3


def test_kl_by_hand() -> None:
    """Reference (1/2, 1/2), twin (1/4, 3/4). KL(reference || twin) = 1/2 ln 2 + 1/2 ln(2/3) =
    1/2 ln(4/3) = 0.1438; the other way round it would be 1/4 ln(1/2) + 3/4 ln(3/2) = 0.1308."""
    given = pair(logits([0.5, 0.5]), logits([0.25, 0.75]))
    assert value(Behaviour(), given, "kl") == pytest.approx(0.5 * np.log(4 / 3), abs=1e-6)
    assert value(Behaviour(), given, "kl") == pytest.approx(0.143841, abs=1e-6)
    assert value(Behaviour(), given, "kl_max") == pytest.approx(0.143841, abs=1e-6)


TWO = pair(
    logits([0.5, 0.25, 0.25], [0.125, 0.5, 0.375]),
    logits([0.25, 0.5, 0.25], [0.0625, 0.5, 0.4375]),
    target=[0, 0],
)
"""The true token is the first: at one position 1/2 becomes 1/4, at the other 1/8 becomes 1/16."""


def test_perplexity_by_hand() -> None:
    """Surprise ln 2 and ln 8, mean ln 4: perplexity 4. The twin's ln 4 and ln 16, mean ln 8:
    perplexity 8; the ratio is 2."""
    assert value(Behaviour(), TWO, "perplexity reference") == pytest.approx(4, rel=1e-6)
    assert value(Behaviour(), TWO, "perplexity twin") == pytest.approx(8, rel=1e-6)
    assert value(Behaviour(), TWO, "perplexity_ratio") == pytest.approx(2, rel=1e-6)


def test_change_of_probability_by_hand() -> None:
    """-1/4 and -1/16: mean -5/32 = -0.15625, root of the mean square sqrt((1/16 + 1/256) / 2) =
    0.18222; of two numbers the lower is the percentile up to 50, the higher beyond."""
    assert value(Behaviour(), TWO, "dp") == pytest.approx(-0.15625, abs=1e-6)
    assert value(Behaviour(), TWO, "dp_rms") == pytest.approx(0.182217, abs=1e-6)
    for name in ("dp_p01", "dp_p05", "dp_p50"):
        assert value(Behaviour(), TWO, name) == pytest.approx(-0.25, abs=1e-6)
    for name in ("dp_p95", "dp_p99"):
        assert value(Behaviour(), TWO, name) == pytest.approx(-0.0625, abs=1e-6)


def test_agreement_and_flips_by_hand() -> None:
    """Four positions, the true token always the first. Top tokens of reference and twin: (0, 0)
    right and right; (0, 1) right to wrong; (1, 0) wrong to right; (1, 2) wrong and wrong. Same
    top once in four; flipped twice in four."""
    tops = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 2]])
    one_hot = torch.nn.functional.one_hot(tops, 3).float()
    given = pair(one_hot[:, 0], one_hot[:, 1], target=[0] * 4)
    assert value(Behaviour(), given, "same_top") == 0.25
    assert value(Behaviour(), given, "flips") == 0.5


def test_documents_by_hand() -> None:
    """Documents 4 and 9, of 4 two positions: KL 1/2 ln(4/3) where the order of tokens changes and
    0 where nothing does, so a mean of 1/4 ln(4/3) = 0.071921 and one change; of 9 one position,
    1/4 ln(1/2) + 3/4 ln(3/2) = 0.130812 and no change."""
    given = pair(
        logits([0.5001, 0.4999], [0.25, 0.75], [0.25, 0.75]),
        logits([0.25, 0.75], [0.5, 0.5001], [0.25, 0.75]),
    )
    at = replace(given.positions, document=torch.tensor([4, 9, 4]), shard=torch.tensor([2, 0, 2]))
    given = replace(given, positions=replace(at, shards=3))
    (table,) = (
        found
        for found in Behaviour().compute(state(Behaviour(), given), NOTHING, NOTHING)
        if isinstance(found, DetailTable)
    )
    assert table.name == "documents"
    columns = {name: values.tolist() for name, values in table.columns.items()}
    assert columns.pop("kl") == pytest.approx([0.071921, 0.130812], abs=2e-4)
    assert columns == {"number": [4, 9], "shard": [2, 0], "positions": [2, 1], "changed": [1, 0]}


def test_percentiles_of_kl_by_hand() -> None:
    """Of KL divergences 1 to 10 (in units of the smallest), the median is the 5th, the 90th
    percentile the 9th, everything beyond the 10th."""
    shifts = torch.tensor([_shift(k * 0.1) for k in range(1, 11)])
    twin = torch.stack([shifts, torch.zeros(10)], dim=1)
    given = pair(torch.zeros(10, 2), twin)
    for name, rank in (("p50", 5), ("p90", 9), ("p95", 10), ("p99", 10), ("p999", 10)):
        assert value(Behaviour(), given, f"kl_{name}") == pytest.approx(0.1 * rank, rel=1e-4)


def _shift(kl: float) -> float:
    """How far the first of two equal logits must move for this KL: by bisection."""
    low, high = 0.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        q = 1 / (1 + np.exp(-middle))
        low, high = (middle, high) if -0.5 * np.log(4 * q * (1 - q)) < kl else (low, middle)
    return low


@pytest.fixture(scope="module")
def random_pair() -> ActivationPair:
    """700 positions in 7 shards over a vocabulary of 50, the twin near the reference."""
    draw = torch.Generator().manual_seed(0)
    reference = 2 * torch.randn(700, 50, generator=draw)
    twin = reference + 0.5 * torch.randn(700, 50, generator=draw)
    shard = torch.randint(0, 7, (700,), generator=draw)
    target = torch.randint(0, 50, (700,), generator=draw)
    return pair(reference, twin, target, shard)


def test_agrees_with_scipy_torch_and_numpy(random_pair: ActivationPair) -> None:
    """Everything again in float64 by others' code, for the whole and for each shard left out."""
    found = outcomes(Behaviour(), random_pair)
    p, q = (
        log_softmax(r.values.double().numpy(), axis=-1)
        for r in (random_pair.reference, random_pair.twin)
    )
    target, shard = random_pair.positions.target.numpy(), random_pair.positions.shard.numpy()
    every_kl = rel_entr(np.exp(p), np.exp(q)).sum(-1)
    assert np.allclose(every_kl, entropy(np.exp(p), np.exp(q), axis=-1))
    rows = np.arange(len(p))
    every_dp = np.exp(q[rows, target]) - np.exp(p[rows, target])
    for row, left_out in enumerate([None, *range(7)]):
        keep = shard != left_out
        kl, dp = every_kl[keep], every_dp[keep]
        expected = {
            "kl": kl.mean(),
            "dp": dp.mean(),
            "dp_rms": np.sqrt((dp**2).mean()),
            "same_top": (p.argmax(-1) == q.argmax(-1))[keep].mean(),
            "flips": ((p.argmax(-1) == target) != (q.argmax(-1) == target))[keep].mean(),
        }
        surprise = {
            name: torch.nn.functional.cross_entropy(
                activations.values.double()[torch.from_numpy(keep)], torch.from_numpy(target[keep])
            ).item()
            for name, activations in (
                ("reference", random_pair.reference),
                ("twin", random_pair.twin),
            )
        }
        expected |= {f"perplexity {name}": np.exp(s) for name, s in surprise.items()}
        expected["perplexity_ratio"] = np.exp(surprise["twin"] - surprise["reference"])
        for numbers, prefix, quantiles in ((kl, "kl", KL_QUANTILES), (dp, "dp", DP_QUANTILES)):
            expected |= {
                f"{prefix}_{name}": np.quantile(numbers, level, method="inverted_cdf")
                for name, level in quantiles.items()
            }
        if left_out is None:
            expected["kl_max"] = kl.max()
            assert expected.keys() == found.keys()
        for name, number in expected.items():
            values = found[name].values
            assert values is not None
            assert values[row] == pytest.approx(number, rel=2e-5, abs=2e-7)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 40),
    ties=st.booleans(),
    levels=st.lists(st.floats(0.001, 1.0), min_size=1, max_size=4),
)
def test_weighted_quantiles_are_those_of_repeated_values(
    seed: int, n: int, ties: bool, levels: list[float]
) -> None:
    """A weight of k is as good as the value written k times: numpy's inverse of the empirical
    distribution, ties and whole ranks included."""
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 5, n).astype(float) if ties else draw.normal(size=n)
    weights = draw.integers(0, 4, (3, n)).astype(float)
    weights[:, 0] += 1
    found = weighted_quantiles(values, np.arange(n), weights, np.array(levels))
    for row, weight in zip(found, weights, strict=True):
        repeated = np.repeat(values, weight.astype(int))
        # A level of exactly nought means the smallest that is there.
        expected = np.quantile(repeated, levels, method="inverted_cdf")
        assert np.array_equal(row, expected)


def test_a_level_that_hits_a_value_is_that_value() -> None:
    """0.55 of a hundred values is the 55th, although 0.55 * 100 is 55.00000000000001 in floating
    point; so for every percentile that reaches a whole number."""
    values = np.arange(1.0, 101)
    levels = np.arange(1, 101) / 100
    shard = np.zeros(100, dtype=np.int64)
    assert (weighted_quantiles(values, shard, np.ones((1, 1)), levels)[0] == values).all()


def test_kept_positions_are_those_of_the_sample(random_pair: ActivationPair) -> None:
    """Where there are more positions than percentiles keep, those with the smallest keys stay;
    averages are still of all."""
    limited = ActivationPair(
        site=random_pair.site,
        item=random_pair.item,
        reference=random_pair.reference,
        twin=random_pair.twin,
        positions=random_pair.positions,
        threshold={Behaviour.kept: 99}.__getitem__,
    )
    accumulator = Behaviour().update(limited)
    assert accumulator.sample("positions").key.tolist() == list(range(100))
    assert accumulator.sums["count"].sum() == 700


def test_equal_logits_up_to_a_shift_are_no_change() -> None:
    """A softmax does not see a common shift, and neither does any metric here."""
    draw = torch.Generator().manual_seed(1)
    reference = torch.randn(30, 9, generator=draw)
    given = pair(reference, reference + 5)
    found = outcomes(Behaviour(), given)
    for metric in Behaviour.metrics:
        if metric.intact is not None:
            assert found[metric.name].values[0] == pytest.approx(metric.intact, abs=1e-6)


def test_sure_models_give_finite_numbers() -> None:
    """A twin that is sure of another token is very far away, not infinitely far."""
    given = pair([[100.0, 0.0]], [[0.0, 100.0]])
    assert value(Behaviour(), given, "kl") == pytest.approx(100, rel=1e-5)
    assert value(Behaviour(), given, "perplexity_ratio") == pytest.approx(np.exp(100), rel=1e-3)


def test_percentiles_of_many_draws_take_little_memory() -> None:
    """Two thousand draws of twenty thousand positions, a number each, would be 320 MB."""
    draw = np.random.default_rng(0)
    values, shard = draw.normal(size=20_000), draw.integers(0, 100, 20_000)
    weights = bootstrap(np.ones(100, dtype=bool))
    tracemalloc.start()
    try:
        weighted_quantiles(values, shard, weights, np.array([0.5, 0.99]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5e6
