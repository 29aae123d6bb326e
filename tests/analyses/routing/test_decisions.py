"""Two routers' decisions, counted by hand."""

import math

import numpy as np
import pytest
import torch

from bitlens.analyses.routing.decisions import (
    ALONE,
    BANDS,
    NO_MARGIN,
    OVERLAPS,
    Decision,
    decision_sums,
    load_results,
    margin_results,
    margin_sums,
    overlap_results,
    overlaps,
)
from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import Positions
from bitlens.models.expert_routing import Routing
from bitlens.results.records import MetricResult

TWO_THIRDS, THIRD = math.log(2 / 3), math.log(1 / 3)


def decision(
    chosen: list[list[int]], weights: list[list[float]], scores: list[list[float]]
) -> Decision:
    return Decision(Routing(torch.tensor(chosen), torch.tensor(weights), torch.tensor(scores)))


REFERENCE = decision(
    [[0, 1], [0, 1]],
    [[0.75, 0.25], [0.5, 0.1]],
    [[2.0, 1.0, 0.95, 0.0], [3.0, 2.0, 0.5, 0.0]],
)
TWIN = decision(
    [[2, 0], [1, 0]],
    [[0.4, 0.6], [0.3, 0.3]],
    [[2.0, 1.0, 1.1, 0.0], [3.0, 2.0, 0.5, 0.0]],
)
"""Of two tokens one goes to 0 and 1, in the twin to 2 and 0; the other to 0 and 1 in both."""


def positions(shards: list[int], count: int = 2) -> Positions:
    n = torch.arange(len(shards))
    return Positions(
        document=torch.tensor(shards),
        shard=torch.tensor(shards),
        shards=count,
        offset=n,
        target=n,
        key=n,
        token=n,
        length=n,
    )


def state(twin: Decision = TWIN, shards: tuple[int, int] = (0, 1)) -> ReplicateState:
    """The two tokens in documents of their own, all documents counted, and each left out."""
    at = positions(list(shards))
    sums = decision_sums(REFERENCE, twin, at) | margin_sums(REFERENCE, twin, at)
    return Accumulator(sums=sums).under(np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]))


def by_name(found: list[MetricResult]) -> dict[tuple[str, str], MetricResult]:  # type: ignore[type-arg]
    return {(one.metric, one.item): one for one in found}


def test_overlaps_by_hand() -> None:
    """One of two experts in common: half agree, of three one is common; the weight on it is the
    smaller of 3/4 and 3/5. Both in common: 1, and of weights 5/6, 1/6 and 1/2, 1/2 two thirds."""
    found = dict(zip(OVERLAPS, overlaps(REFERENCE, TWIN).T.tolist(), strict=True))
    assert found["agreement"] == [0.5, 1.0]
    assert found["exact"] == [0.0, 1.0]
    assert found["top1"] == [1.0, 0.0]
    assert found["jaccard"] == pytest.approx([1 / 3, 1.0])
    assert found["mass"] == pytest.approx([0.6, 0.5 + 1 / 6])
    assert found["kl"][1] == found["tv"][1] == 0.0


def test_divergence_and_variation_by_hand() -> None:
    """Two thirds and a third against the reverse: KL ln 2 / 3, a third went elsewhere."""
    one = decision([[0]], [[1.0]], [[TWO_THIRDS, THIRD]])
    other = decision([[1]], [[1.0]], [[THIRD, TWO_THIRDS]])
    found = dict(zip(OVERLAPS, overlaps(one, other)[0].tolist(), strict=True))
    assert found["kl"] == pytest.approx(math.log(2) / 3, rel=1e-5)
    assert found["tv"] == pytest.approx(1 / 3, rel=1e-5)


def test_chance_is_what_both_loads_give() -> None:
    """Loads 1, 1, 0, 0 and 1, 1/2, 1/2, 0 of the tokens: (1 + 1/2) / 2."""
    agreement = by_name(overlap_results(state()))[("agreement", "")]
    assert agreement.chance == 0.75
    assert agreement.values is not None
    assert agreement.values.tolist() == [0.75, 1.0, 0.5]


def test_loads_by_hand() -> None:
    """Half and half of four in the reference: half the entropy of an even load, a peak of twice
    the mean; a quarter of the work went to others; expert 2 gets half the tokens."""
    found = by_name(load_results(state()))
    first = {key: one.values[0] for key, one in found.items() if one.values is not None}
    assert first[("load_entropy", "reference")] == pytest.approx(0.5)
    assert first[("load_peak", "reference")] == 2.0
    assert first[("load_tv", "")] == 0.25
    assert first[("load_shift", "expert 1")] == -0.5
    assert first[("load_shift", "expert 2")] == 0.5


def test_close_calls_change_sides() -> None:
    """Margins 0.05 and 1.5: the first token goes elsewhere, the second does not; where leaving a
    document out leaves no such token, there is a reason, and one where there is none at all."""
    assert REFERENCE.margin.tolist() == pytest.approx([0.05, 1.5])
    found = by_name(margin_results(state()))
    assert found[("shift_rate", BANDS[0])].reason == ALONE
    assert found[("shift_rate", "margin 0.2 to 0.5")].reason == NO_MARGIN
    both = state(shards=(0, 0))
    whole = margin_results(both.under(np.ones((1, 2))))
    rates = {k[1]: o.values.tolist() for k, o in by_name(whole).items() if o.values is not None}
    assert rates == {"margin below 0.1": [1.0], "margin 1 to 2": [0.0]}


def test_weights_that_are_all_nought_are_shared_out_evenly() -> None:
    """Gates that underflow leave no share undefined."""
    none = decision([[0, 1]], [[0.0, 0.0]], [[0.0, 0.0, 0.0]])
    assert none.mass.tolist() == [[0.5, 0.5, 0.0]]


def test_a_choice_against_the_scores_has_a_margin_below_nought() -> None:
    """Groups or a bias may choose an expert of lower score."""
    against = decision([[1]], [[1.0]], [[2.0, 1.5]])
    assert against.margin.tolist() == [-0.5]
