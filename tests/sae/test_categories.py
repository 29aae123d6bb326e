"""Categories at their borders, and the flow between them."""

import numpy as np
import pytest
import torch

from bitlens.sae.categories import CATEGORIES, categories, flow


def test_borders() -> None:
    """Never, below 1 %, from 1 %, from a half."""
    rates = [0, 1e-9, 0.00999, 0.01, 0.49999, 0.5, 1]
    names = [CATEGORIES[place] for place in categories(rates)]
    assert names == ["dead", "rare", "rare", "common", "common", "frequent", "frequent"]


def test_flow_by_hand() -> None:
    """One dies, one wakes up rare, one goes from common to frequent, two stay."""
    before = torch.tensor([0.005, 0.0, 0.2, 0.0, 0.7])
    after = torch.tensor([0.0, 0.001, 0.6, 0.0, 0.9])
    assert flow(before, after).tolist() == [
        [1, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 1],
    ]


def test_margins_are_the_categories_of_either_side() -> None:
    """Rows those before, columns those after; nothing changed is a diagonal."""
    before, after = np.random.default_rng(0).beta(0.3, 1, (2, 500))
    found = flow(before, after)
    assert found.sum(1).tolist() == np.bincount(categories(before), minlength=4).tolist()
    assert found.sum(0).tolist() == np.bincount(categories(after), minlength=4).tolist()
    same = flow(before, before)
    assert same.sum() == np.trace(same) == 500


def test_no_latents_do_not_flow() -> None:
    """Nothing from anywhere."""
    assert flow([], []).tolist() == [[0] * 4] * 4


def test_each_replicate_has_its_own() -> None:
    """A row of rates a replicate."""
    assert categories([[0, 0.02], [0.001, 0.6]]).tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize("rates", [[-0.1], [1.1], [np.nan], [[0.5, 2]]])
def test_what_is_no_rate_is_refused(rates: object) -> None:
    """Outside 0 to 1, or not a number."""
    with pytest.raises(ValueError, match="not from 0 to 1"):
        categories(rates)  # type: ignore[arg-type]


def test_other_latents_are_refused() -> None:
    """Both shapes are named; rates of replicates do not flow."""
    with pytest.raises(ValueError, match=r"\(2,\) before but \(3,\) after"):
        flow([0, 1], [0, 0, 1])
    with pytest.raises(ValueError, match=r"\(1, 2\) before"):
        flow([[0, 1]], [[0, 1]])
