"""What a repair is worth, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from bitlens.records import Value
from bitlens.repairs.measured import recovered


def test_what_is_recovered_by_hand() -> None:
    """From 0.2 to 0.4 of 0.8 that were lost, a quarter; replicate by replicate; less than before
    is below nought; what never was lost is not recovered."""
    before = Value("survived", "resid.1", "a", 0.2, (0.5, 0.0), documents=7)
    after = replace(before, value=0.4, replicates=(0.75, 0.1))
    found = recovered(before, after)
    assert found.value == pytest.approx(0.25) and found.documents == 7
    assert found.replicates == pytest.approx((0.5, 0.1))
    worse = recovered(before, replace(after, value=0.0)).value
    assert worse is not None and np.isclose(worse, -0.25)
    whole = replace(before, value=1.0)
    assert recovered(whole, after).reason == "nothing was lost"
    unknown = replace(before, value=None, replicates=(), reason="too few features")
    assert recovered(unknown, after).reason == "too few features"
