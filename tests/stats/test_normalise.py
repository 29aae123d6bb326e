"""The share kept between chance and intact."""

import pytest

from bitlens.records import Estimate
from bitlens.stats.normalise import share_kept


def test_share_worked_by_hand():
    """Cosine .8 between chance .2 and intact 1 keeps three quarters."""
    kept = share_kept(Estimate(0.8, 0.7, 0.9, 12), intact=1.0, chance=0.2)
    assert (kept.value, kept.low, kept.high) == pytest.approx((0.75, 0.625, 0.875))
    assert kept.documents == 12


def test_bounds_turn_round_where_higher_is_worse():
    """KL 2 [1, 4] between intact 0 and chance 8 keeps 0.75 [0.5, 0.875]."""
    kept = share_kept(Estimate(2.0, 1.0, 4.0, 12), intact=0.0, chance=8.0)
    assert (kept.value, kept.low, kept.high) == pytest.approx((0.75, 0.5, 0.875))


def test_worse_than_chance_is_below_zero():
    """Nothing is cut off: KL 12 against a chance of 8 keeps -0.5, without an interval."""
    kept = share_kept(Estimate(12.0, None, None, 1, "one document"), intact=0.0, chance=8.0)
    assert (kept.value, kept.low, kept.reason) == (-0.5, None, "one document")


@pytest.mark.parametrize(
    ("intact", "chance", "reason"),
    [(None, 1.0, "no intact value"), (0.0, None, "no chance value"), (1.0, 1.0, "intact equals")],
)
def test_undefined_share_has_a_reason(intact, chance, reason):
    """Without intact or chance, or where both are one, there is no share."""
    kept = share_kept(Estimate(0.8, 0.7, 0.9, 12), intact, chance)
    assert kept.value is None and kept.low is None and reason in kept.reason
    missing = Estimate(None, None, None, 0, "empty")
    assert share_kept(missing, 1.0, 0.0) == missing
