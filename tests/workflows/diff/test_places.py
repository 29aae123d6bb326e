"""Where a difference lies, by hand."""

import numpy as np
import pytest

from bitlens.results.stats.replicates import leave_one_out
from bitlens.workflows.diff.places import concentration, largest_shares


def test_how_few_positions_hold_it_by_hand() -> None:
    """Of squares 9, 1, 0, 0 the largest quarter holds 90 %, half of that 45 %, and without the
    shard of the 9 all of what is left is at a third."""
    square, shard = np.array([0.0, 9.0, 1.0, 0.0]), np.array([1, 0, 1, 1])
    weights = leave_one_out(np.ones(2, dtype=bool))
    found = concentration(square, shard, weights, (0.125, 0.25, 1 / 3))
    assert found[0] == pytest.approx([0.45, 0.9, 0.9 + 0.1 / 3])
    # Left out is shard 0, then shard 1.
    assert found[1, 2] == pytest.approx(1.0)
    assert found[2, 0] == pytest.approx(0.125)


def test_equal_differences_hold_their_share() -> None:
    """Chance: one in a hundred holds one in a hundred."""
    found = concentration(np.full(1000, 2.0), np.zeros(1000, int), np.ones((1, 1)))
    assert found[0] == pytest.approx([0.001, 0.01, 0.1])


def test_tokens_by_their_share() -> None:
    """Token 5 holds 9 of 12 at two of four positions."""
    found = largest_shares(np.array([4.0, 1, 5, 2]), np.array([5, 0, 5, 3]), 2)
    assert found[0] == (5, pytest.approx(0.75), pytest.approx(0.5), 2)
    assert found[1] == (3, pytest.approx(2 / 12), pytest.approx(0.25), 1)
