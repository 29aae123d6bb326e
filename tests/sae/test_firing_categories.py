"""Categories at their borders, and the flow between them."""

import numpy as np
import pytest
import torch

from bitlens.sae.firing_categories import CATEGORIES, categories, flow


def test_borders() -> None:
    """Never, below 1 %, from 1 %, from a half, of 100,000 positions."""
    fired = [0, 1, 999, 1000, 49_999, 50_000, 100_000]
    names = [CATEGORIES[place] for place in categories(fired, 100_000)]
    assert names == ["dead", "rare", "rare", "common", "common", "frequent", "frequent"]


@pytest.mark.parametrize("fired", [1, 3, 9])
def test_a_share_of_few_positions_is_no_rate(fired: int) -> None:
    """Of ten positions one firing is a tenth, and nine are most: seldom, until there are ten."""
    assert categories([fired, 10], 12).tolist() == [1, 3]


def test_flow_by_hand() -> None:
    """One dies, one wakes up rare, one goes from common to frequent, two stay."""
    before = torch.tensor([50, 0, 2_000, 0, 7_000])
    after = torch.tensor([0, 10, 6_000, 0, 9_000])
    assert flow(before, after, 10_000).tolist() == [
        [1, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 1],
    ]


def test_margins_are_the_categories_of_either_side() -> None:
    """Rows those before, columns those after; nothing changed is a diagonal."""
    before, after = np.random.default_rng(0).beta(0.3, 1, (2, 500)).round(3) * 1000
    found = flow(before, after, 1000)
    assert found.sum(1).tolist() == np.bincount(categories(before, 1000), minlength=4).tolist()
    assert found.sum(0).tolist() == np.bincount(categories(after, 1000), minlength=4).tolist()
    same = flow(before, before, 1000)
    assert same.sum() == np.trace(same) == 500


def test_no_latents_do_not_flow() -> None:
    """Nothing from anywhere."""
    assert flow([], [], 100).tolist() == [[0] * 4] * 4


def test_each_replicate_has_its_own() -> None:
    """A row of firings a replicate, each with its positions."""
    fired, positions = [[0, 20], [1, 600]], [[1000], [1000]]
    assert categories(fired, positions).tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize("fired", [[-1], [101], [np.nan], [[50, 200]]])
def test_what_is_no_rate_is_refused(fired: object) -> None:
    """More than there are positions, fewer than none, or not a number."""
    with pytest.raises(ValueError, match="not from 0 to 1"):
        categories(fired, 100)  # type: ignore[arg-type]


def test_other_latents_are_refused() -> None:
    """Both shapes are named; firings of replicates do not flow."""
    with pytest.raises(ValueError, match=r"\(2,\) before but \(3,\) after"):
        flow([0, 1], [0, 0, 1], 10)
    with pytest.raises(ValueError, match=r"\(1, 2\) before"):
        flow([[0, 1]], [[0, 1]], 10)
