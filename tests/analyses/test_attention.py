"""Attention: numbers worked by hand, and independent implementations to agree with."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from bitlens.analyses.attention import Attention
from bitlens.engine.accumulators import ReplicateState
from bitlens.engine.activations import ActivationPair
from tests.support import tiny
from tests.support.by_hand import NOTHING, found, number, rows, state

Found = dict[tuple[str, str, str], float]


def numbers(*parts: ActivationPair) -> Found:
    outcomes = Attention().compute(state(Attention(), *parts), NOTHING, NOTHING)
    return {key: number(outcome) for key, outcome in found(outcomes).items()}


def one(reference: list[float], twin: list[float]) -> Found:
    """Of one head at one query, the last of a row."""
    keys = len(reference)
    patterns = torch.zeros(2, 1, 1, keys, keys)
    patterns[0, 0, 0, -1], patterns[1, 0, 0, -1] = torch.tensor(reference), torch.tensor(twin)
    return numbers(rows(patterns[0], patterns[1], [0], first=keys - 1))


def test_jensen_shannon_by_hand() -> None:
    """(1, 0) to (0, 1): the mixture (1/2, 1/2) has entropy ln 2, neither side has any: ln 2, the
    most there is, and all of the attention went elsewhere. (1, 0) to (1/2, 1/2): entropy of
    (3/4, 1/4) is 0.562335, less half of ln 2: 0.215762; half of the attention went."""
    far = one([1.0, 0.0], [0.0, 1.0])
    assert far["jsd", "", "head 0"] == pytest.approx(np.log(2), rel=1e-6)
    assert far["tv", "", "head 0"] == pytest.approx(1)
    near = one([1.0, 0.0], [0.5, 0.5])
    assert near["jsd", "", "head 0"] == pytest.approx(0.562335 - np.log(2) / 2, abs=1e-6)
    assert near["tv", "", "head 0"] == pytest.approx(0.5)


def test_spread_and_sink_by_hand() -> None:
    """(1/2, 1/4, 1/4) has entropy 3/2 ln 2 and rests half on the first position; (1/4, 1/2, 1/4)
    is as spread out, and a quarter rests there: a shift of -1/4."""
    given = one([0.5, 0.25, 0.25], [0.25, 0.5, 0.25])
    for who in ("reference", "twin"):
        assert given["entropy", "", f"head 0, {who}"] == pytest.approx(1.5 * np.log(2), rel=1e-6)
    assert given["entropy_shift", "", "head 0"] == pytest.approx(0, abs=1e-7)
    assert given["sink", "", "head 0, reference"] == 0.5
    assert given["sink", "", "head 0, twin"] == 0.25
    assert given["sink_shift", "", "head 0"] == -0.25


def causal(rows: int, heads: int, length: int, seed: int) -> torch.Tensor:
    """Random attention patterns that look back only."""
    draw = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(rows, heads, length, length, generator=draw)
    ahead = torch.ones(length, length).triu(1).bool()
    return scores.masked_fill(ahead, -torch.inf).softmax(dim=-1)


def test_agrees_with_scipy_for_the_whole_and_without_each_shard() -> None:
    """Every head and query by scipy's functions in float64; means over the positions of the
    shards that are there, first positions and padding left out."""
    lengths, shard = [7, 5, 6, 7], [0, 1, 2, 1]
    reference, twin = causal(4, 3, 7, 0), causal(4, 3, 7, 1)
    outcomes = Attention().compute(
        state(Attention(), rows(reference, twin, shard, lengths=lengths)), NOTHING, NOTHING
    )
    named = found(outcomes)
    p, q = reference.double().numpy(), twin.double().numpy()
    for row, left_out in enumerate([None, 0, 1, 2]):
        every: dict[str, list[list[float]]] = {}
        for r in range(4):
            for place in range(1, lengths[r]):
                if shard[r] == left_out:
                    continue
                both = [x[r, :, place, : place + 1] for x in (p, q)]
                heads = range(3)
                js = [jensenshannon(both[0][h], both[1][h]) ** 2 for h in heads]
                every.setdefault("jsd", []).append(js)
                every.setdefault("tv", []).append((np.abs(both[0] - both[1]).sum(1) / 2).tolist())
                for who, x in zip(("reference", "twin"), both, strict=True):
                    every.setdefault(f"entropy {who}", []).append(entropy(x, axis=1).tolist())
                    every.setdefault(f"sink {who}", []).append(x[:, 0].tolist())
        means = {name: np.mean(values, axis=0) for name, values in every.items()}
        for h in range(3):
            expected = {
                ("jsd", "", f"head {h}"): means["jsd"][h],
                ("tv", "", f"head {h}"): means["tv"][h],
            }
            for name in ("entropy", "sink"):
                of = [means[f"{name} {who}"][h] for who in ("reference", "twin")]
                expected[name, "", f"head {h}, reference"] = of[0]
                expected[name, "", f"head {h}, twin"] = of[1]
                expected[f"{name}_shift", "", f"head {h}"] = of[1] - of[0]
            for key, value in expected.items():
                assert named[key].values[row] == pytest.approx(value, rel=1e-5, abs=1e-6), key
        for name in ("jsd", "tv"):
            assert named[name, "", ""].values[row] == pytest.approx(means[name].mean(), rel=1e-5)
    assert len(named) == 3 * 8 + 2


def test_the_model_is_the_mean_of_all_heads() -> None:
    """Over blocks of different numbers of heads, every head counts the same."""
    sites: dict[str, ReplicateState] = {}
    heads = []
    for depth, count in enumerate((1, 3)):
        part = rows(causal(2, count, 5, depth), causal(2, count, 5, 9 + depth), [0, 1])
        sites[f"pattern.{depth}"] = state(Attention(), part)
        outcomes = found(Attention().compute(sites[f"pattern.{depth}"], NOTHING, NOTHING))
        heads += [outcomes["jsd", "", f"head {h}"].values for h in range(count)]
    whole = found(Attention().compute_overall(sites, tiny.Words()))
    assert set(whole) == {("jsd", "pattern", ""), ("tv", "pattern", "")}
    assert np.allclose(whole["jsd", "pattern", ""].values, np.mean(heads, axis=0))


def test_equal_patterns_are_never_on_the_wrong_side_of_nought() -> None:
    """Rounding makes the entropies of a pattern and of its mixture with itself differ by a hair:
    the divergence is nought or a hair, never less."""
    pattern = causal(3, 2, 40, 3)
    given = numbers(rows(pattern, pattern.clone(), [0, 0, 0]))
    for h in (0, 1):
        assert 0 <= given["jsd", "", f"head {h}"] < 1e-7
        assert given["tv", "", f"head {h}"] == given["sink_shift", "", f"head {h}"] == 0
