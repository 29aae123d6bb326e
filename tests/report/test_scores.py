"""A score is the share of the way from chance to intact."""

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.registration import Framed, families
from bitlens.report.scores import score, scores
from tests.support.audit_stores import RTN, with_rows


def framed(value: float, intact: float, chance: float) -> Framed:
    """An estimate with an interval of 0.1 to each side."""
    row = {"value": value, "low": value - 0.1, "high": value + 0.1}
    return Framed(row=row, intact=intact, chance=chance)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (framed(0.6, 1.0, 0.2), (0.5, 0.375, 0.625)),
        (framed(0.1, 0.0, 0.4), (0.75, 0.5, 1.0)),
        (framed(1.0, 1.0, 0.0), (1.0, 0.9, 1.1)),
    ],
)
def test_by_hand(given: Framed, expected: tuple[float, float, float]) -> None:
    """Whichever way is worse, more is better and the ends of the interval keep their order."""
    found = score(given)
    assert (found.value, found.low, found.high) == pytest.approx(expected)


def test_no_way_between_the_two_is_refused() -> None:
    """Rather than an infinite score."""
    with pytest.raises(ValueError, match=r"both 1\.0"):
        score(framed(1.0, 1.0, 1.0))


def test_without_an_interval_there_is_none() -> None:
    """The value alone."""
    found = score(Framed(row={"value": 0.5, "low": None, "high": None}, intact=1.0, chance=0.0))
    assert (found.value, found.low, found.high) == (0.5, None, None)


def test_the_worst_place_counts(deep: AuditResults) -> None:
    """Of two SAEs the one that keeps less; a family that nobody measured has no score."""
    found = with_rows(
        deep,
        features__survived__resid_0__early=(0.9, 0.88, 0.92),
        features__survived__resid_2__late=(0.4, 0.35, 0.45),
    )
    known = {entry.title: one for entry, one in scores(found, "demo", RTN)}
    assert list(known) == [entry.title for entry in families()]
    late = known["Features"]
    assert late is not None
    assert late.of.where == "in block 2 (late)"
    assert late.value == pytest.approx((0.4 - late.of.chance) / (1 - late.of.chance))
