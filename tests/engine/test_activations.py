"""Laws of activations: sums by shard, and what is derived of them once."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import entropy
from torch import Tensor

from bitlens.engine.activations import Activations, Positions


def positions(shard: Tensor, shards: int) -> Positions:
    place = torch.arange(len(shard))
    return Positions(
        document=place,
        shard=shard,
        shards=shards,
        offset=place,
        target=place,
        key=place,
        token=place,
        length=place,
    )


@pytest.mark.parametrize("columns", [None, 1, 64, 65, 200])
def test_totals_are_by_shard(columns: int | None) -> None:
    """The sum over each shard's positions, nought where a shard is absent; narrow values in
    float64, wide ones within float32's error."""
    draw = torch.Generator().manual_seed(0)
    shard = torch.randint(0, 5, (300,), generator=draw)
    shard[shard == 2] = 3
    values = torch.randn((300,) if columns is None else (300, columns), generator=draw)
    found = positions(shard, 6).total(values)
    oracle = np.stack([values.double().numpy()[shard.numpy() == s].sum(axis=0) for s in range(6)])
    assert found.dtype == torch.float64
    assert found.shape == oracle.shape
    assert np.allclose(found, oracle, rtol=0, atol=1e-12 if (columns or 1) <= 64 else 1e-4)
    assert (found[[2, 5]] == 0).all()


def test_sums_of_many_small_numbers_are_exact() -> None:
    """A million times a thousandth: float32 would be off in the fourth digit."""
    n = 1 << 20
    thousandths = torch.full((n,), 1e-3, dtype=torch.float64)
    total = positions(torch.zeros(n, dtype=torch.int64), 1).total(thousandths)
    assert abs(total.item() - n * 1e-3) < 1e-6


def test_the_largest_is_by_shard() -> None:
    """Minus infinity where a shard has nothing."""
    shard = torch.tensor([0, 2, 2, 0])
    found = positions(shard, 4).largest(torch.tensor([1.0, -3.0, -2.0, 0.5]))
    assert found.tolist() == [1.0, -torch.inf, -2.0, -torch.inf]


def test_what_is_derived_is_what_numpy_says() -> None:
    """Squared lengths, means, log-probabilities and the most probable token."""
    values = torch.randn(7, 40, generator=torch.Generator().manual_seed(1)) * 5
    activations, exact = Activations(values), values.double().numpy()
    assert np.allclose(activations.square, (exact**2).sum(-1), rtol=1e-6)
    assert np.allclose(activations.mean, exact.mean(-1), rtol=1e-4, atol=1e-6)
    assert np.allclose(activations.log_probabilities, log_softmax(exact, axis=-1), atol=1e-5)
    assert np.allclose(activations.probabilities.sum(-1), 1, atol=1e-6)
    assert (activations.top.numpy() == exact.argmax(-1)).all()


def test_what_is_made_once_is_made_once() -> None:
    """By name, for every twin the reference is compared with; other activations make their own."""
    made = []

    def make() -> int:
        made.append(1)
        return len(made)

    one, other = Activations(torch.zeros(2)), Activations(torch.zeros(2))
    assert [one.once("a", make), one.once("a", make), one.once(("a", 1), make)] == [1, 1, 2]
    assert other.once("a", make) == 3
    assert len(made) == 3


def test_patterns_are_read_at_their_positions() -> None:
    """Of every head at flattened rows and queries: `[n, heads]`; entropies are scipy's."""
    draw = torch.Generator().manual_seed(0)
    patterns = torch.rand(3, 4, 5, 5, generator=draw).tril()
    patterns = patterns / patterns.sum(dim=-1, keepdim=True)
    index = torch.tensor([1, 4, 5, 9, 12])
    found = Activations(patterns, index).at_positions(patterns[..., 0])
    assert found.shape == (5, 4)
    for n, at in enumerate(index.tolist()):
        assert torch.equal(found[n], patterns[at // 5, :, at % 5, 0])
    expected = entropy(patterns.double().numpy(), axis=-1)
    assert np.allclose(Activations(patterns, index).entropy, expected, atol=1e-6)


def test_some_positions_sum_as_they_did_among_all() -> None:
    """Those of one shard alone: its sum, and nought elsewhere."""
    shard = torch.tensor([0, 1, 0, 2, 1])
    values = torch.tensor([1.0, 2, 4, 8, 16])
    some = positions(shard, 3).some(torch.tensor([1, 4]))
    assert len(some) == 2
    assert some.token.tolist() == [1, 4]
    assert some.total(values[[1, 4]]).tolist() == [0, 18, 0]
