"""Ten firings and more than one in a thousand, whatever shape they come in."""

import numpy as np
import pytest

from bitlens.results.stats.firings import active, repeatedly


@pytest.mark.parametrize(
    ("fired", "positions", "expected"),
    [
        (9, 255, False),
        (10, 255, True),
        (10, 10_000, False),
        (11, 10_000, True),
        (100, 100_000, False),
        (101, 100_000, True),
        (0, 0, False),
    ],
)
def test_both_are_needed(fired: int, positions: int, expected: bool) -> None:
    """The share decides above ten thousand positions, the number below."""
    assert bool(active(fired, positions)) is expected


def test_replicates_have_their_own_positions() -> None:
    """A row a replicate; a sum that rounding moved is still a whole number."""
    fired = np.array([[10.0, 9.0, 10.0 - 1e-9], [30.0, 10.0, 9.0]])
    expected = [[True, False, True], [False, False, False]]
    assert active(fired, np.array([[100], [30_000]])).tolist() == expected
    assert repeatedly(fired).tolist() == [[True, False, True], [True, True, False]]
