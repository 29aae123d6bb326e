"""Replicates of many latents, a few at a time."""

import tracemalloc

import numpy as np
import pytest
import torch

from bitlens.analyses.features.analysis import Features
from bitlens.engine.accumulators import ReplicateState
from bitlens.results.records import MetricResult
from bitlens.results.stats.replicates import bootstrap
from tests.support.by_hand import NOTHING
from tests.support.coded import identity, pair

LATENTS = 600
MODULE = "bitlens.analyses.features.survival.parts.PART_BYTES"


@pytest.fixture(scope="module")
def state() -> ReplicateState:
    """Of forty documents, drawn two thousand times."""
    draw = torch.Generator().manual_seed(0)
    reference = torch.randn(200, LATENTS, generator=draw)
    twin = reference + 0.3 * torch.randn(200, LATENTS, generator=draw)
    weights = bootstrap(np.ones(40, dtype=bool))
    return Features((identity(LATENTS),)).update(pair(reference, twin)).under(weights)


def outcomes(state: ReplicateState) -> dict[str, MetricResult]:
    found = Features((identity(LATENTS),)).compute(state, NOTHING, NOTHING)
    return {f"{o.metric} {o.item}": o for o in found if isinstance(o, MetricResult)}


@pytest.fixture(scope="module")
def whole(state: ReplicateState) -> dict[str, MetricResult]:
    return outcomes(state)


@pytest.mark.parametrize("size", [1, 60_000, 1 << 40])
def test_how_many_at_a_time_does_not_matter(
    state: ReplicateState,
    whole: dict[str, MetricResult],
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One replicate at a time, a dozen, or all: the same outcomes with the same replicates."""
    few = state.under(state.weights[:40])
    expected = outcomes(few)
    monkeypatch.setattr(MODULE, size)
    found = outcomes(few)
    assert list(found) == list(expected) == list(whole)
    for name, one in found.items():
        other = expected[name]
        assert (one.reason, one.chance) == (other.reason, other.chance)
        if one.values is not None and other.values is not None:
            assert one.values == pytest.approx(other.values, rel=1e-9, abs=1e-12), name


@pytest.mark.slow
def test_memory_does_not_grow_with_draws_times_latents(
    state: ReplicateState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two thousand draws of six hundred latents are 10 MB a number, and there are twenty."""
    monkeypatch.setattr(MODULE, 1 << 19)
    tracemalloc.start()
    try:
        outcomes(state)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 25e6
