"""Twins lie across a chart by what they take up, and a large one does not squeeze the others."""

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.frontier import Footprint, sizes_of


def test_twins_alike_in_size_lie_linearly() -> None:
    """3 and 5 bits with 8 % of the stretch beside each: 4 is the middle."""
    near = Footprint(title="bits", of={"a": 3.0, "b": 5.0})
    assert not near.logarithmic
    assert near.along(4.0) == pytest.approx(0.5)
    assert near.along(3.0) == pytest.approx(0.08 / 1.16)


def test_a_pruned_twin_does_not_squeeze_the_rest() -> None:
    """2 to 32 bits are four doublings: 8 is the middle."""
    far = Footprint(title="bits", of={"a": 2.0, "b": 32.0})
    assert far.logarithmic
    assert far.along(8.0) == pytest.approx(0.5)
    drawn = far.x()
    assert drawn["scale"]["type"] == "log"
    assert {2, 4, 8, 16, 32} & set(drawn["axis"]["values"])


def test_one_twin_stands_in_the_middle() -> None:
    """Of one twin there is no stretch."""
    assert Footprint(title="bits", of={"a": 4.0}).along(4.0) == pytest.approx(0.5)


def test_sizes_are_in_the_unit_of_the_largest(results: AuditResults) -> None:
    """Megabytes here."""
    sizes = sizes_of(results, "demo")
    assert sizes is not None
    assert sizes.title == "size (MB)"
    assert sizes.of == {t.compression: t.bytes / 1e6 for t in results.measured("demo") if t.bytes}
