"""One block makes half of the error: said where it is sure and not the way of the model itself."""

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.findings.one_block import one_block
from bitlens.report.findings.ranking import PROMOTED
from bitlens.report.registration import Finding
from tests.support.audit_stores import NOISE, RTN, Numbers, with_rows


def own_errors(third: float, half: float | None) -> dict[str, Numbers]:
    """Distances of 1 at blocks 0, 1 and 3, and another at block 2, each with such an interval."""
    found: dict[str, Numbers] = {}
    for block, value in enumerate((1.0, 1.0, third, 1.0)):
        ends = (None, None) if half is None else (value * (1 - half), value * (1 + half))
        found[f"geometry__l2__resid_{block}__local"] = (value, *ends)
    return found


def said(results: AuditResults) -> list[Finding]:
    return [one for one in one_block(results, "demo") if RTN in one.twins]


def test_half_of_the_error_by_hand(deep: AuditResults) -> None:
    """3 against three times 1: 9 of 12 parts are 75 %; with 10 % to either side at least
    7.29 / (7.29 + 3.63) = 66.8 %, at most 10.89 / (10.89 + 2.43) = 81.8 %."""
    noisy = with_rows(deep, NOISE, **own_errors(1.0, 0.1))
    (one,) = said(with_rows(noisy, **own_errors(3.0, 0.1)))
    assert one.title == f"At {RTN} block 2 makes more than half of the error"
    assert "block 2 makes 75.0 % [66.8, 81.8], under noise of the same size 25.0 %" in one.text
    assert one.target == "layer=2"
    assert one.weight > PROMOTED


@pytest.mark.parametrize(("third", "half"), [(1.8, 0.1), (3.0, None), (1.0, 0.01)])
def test_what_is_not_sure_is_not_said(deep: AuditResults, third: float, half: float | None) -> None:
    """52 % of which the lower end is 42 %; no interval; a quarter each."""
    assert not said(with_rows(deep, **own_errors(third, half)))


def test_what_noise_does_as_well_is_not_promoted(deep: AuditResults) -> None:
    """A block that any error hits hardest is the model's way, and is said further down."""
    noisy = with_rows(deep, NOISE, **own_errors(2.9, 0.1))
    (one,) = said(with_rows(noisy, **own_errors(3.0, 0.1)))
    assert one.weight < PROMOTED
