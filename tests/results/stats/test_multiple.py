"""False discovery rates."""

import numpy as np
import pytest

from bitlens.results.stats.multiple import false_discovery


def test_benjamini_hochberg_worked_by_hand():
    """Sorted .005 .01 .03 .04 times 4/1 4/2 4/3 4/4, then made monotone from the right."""
    assert false_discovery([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_a_smaller_p_has_no_larger_q():
    """Sorted .01 .02 .021 times 3/1 3/2 3/3: .03 .03 .021, of which the least from the right on
    is .021 for all."""
    assert false_discovery([0.01, 0.021, 0.02]) == pytest.approx([0.021] * 3)


def test_tests_not_made_do_not_count():
    """None stays None and changes no other."""
    found = false_discovery([None, 0.01, 0.04, None, 0.03, 0.005])
    assert found[0] is None
    assert found[3] is None
    assert [q for q in found if q is not None] == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert false_discovery([]) == []
    assert false_discovery([None]) == [None]


def test_nothing_is_found_among_uniform_p():
    """Where nothing is there, families with any finding at 5 % are about 5 %."""
    p = np.random.default_rng(0).uniform(size=(400, 50))
    families = [min(false_discovery(row.tolist())) <= 0.05 for row in p]
    assert 0.02 < np.mean(families) < 0.09
