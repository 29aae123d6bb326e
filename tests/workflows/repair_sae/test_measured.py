"""What a repair is worth, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from bitlens.results.records import Value
from bitlens.workflows.repair_sae.measured import difference, recovered


def test_what_is_recovered_by_hand() -> None:
    """From 0.2 to 0.4 of 0.8 that were lost, a quarter; replicate by replicate; less than before
    is below nought; what never was lost is not recovered."""
    before = Value(
        metric="survived", site="resid.1", item="a", value=0.2, replicates=(0.5, 0.0), documents=7
    )
    after = replace(before, value=0.4, replicates=(0.75, 0.1))
    found = recovered(before, after)
    assert found.value == pytest.approx(0.25)
    assert found.documents == 7
    assert found.replicates == pytest.approx((0.5, 0.1))
    worse = recovered(before, replace(after, value=0.0)).value
    assert worse is not None
    assert np.isclose(worse, -0.25)
    whole = replace(before, value=1.0)
    assert recovered(whole, after).reason == "nothing was lost"
    unknown = replace(before, value=None, replicates=(), reason="too few features")
    assert recovered(unknown, after).reason == "too few features"


def test_how_much_more_is_recovered_by_hand() -> None:
    """0.9 after 0.95 is 0.05 less, replicate by replicate; what is not known changes by nothing
    that is."""
    before = Value(
        metric="loss_recovered",
        site="resid.1",
        item="a",
        value=0.95,
        replicates=(0.75, 1.0),
        documents=7,
    )
    found = difference(before, replace(before, value=0.9, replicates=(0.5, 1.25)))
    assert found.value == pytest.approx(-0.05)
    assert found.documents == 7
    assert found.replicates == (-0.25, 0.25)
    unknown = replace(before, value=None, replicates=(), reason="nothing to recover")
    for pair in ((before, unknown), (unknown, before)):
        assert difference(*pair).value is None
        assert difference(*pair).reason == "nothing to recover"
