"""Values lie where a reader can tell them apart, and reference lines are drawn or named."""

import pytest

from bitlens.report.charts.axes import Axis, fit, off
from bitlens.report.charts.charts import lines
from bitlens.results.records import Metric

KL = Metric("kl", "?", unit="nats", worse="higher", intact=0.0, scale="log")
COSINE = Metric("cosine", "?", unit="", worse="lower", intact=1.0, scale="atanh")
SQNR = Metric("sqnr", "?", unit="dB", worse="lower", intact=None)


def row(value: float, low: float | None = None, high: float | None = None) -> dict:
    """An estimate as a row of the store."""
    return {"value": value, "low": low, "high": high}


def test_the_metric_decides_the_kind_of_axis() -> None:
    """Log scales are drawn logarithmic, similarities by the nines, decibels linear."""
    kinds = [fit(metric, [row(0.5), row(0.9)]).kind for metric in (KL, COSINE, SQNR)]
    assert kinds == ["log", "nines", "linear"]


def test_zeros_are_held_at_the_edge_of_a_logarithmic_axis() -> None:
    """A twin like its reference beside one that is not: both are drawn. Alone, on a linear axis."""
    beside, alone = fit(KL, [row(0.0), row(0.1)]), fit(KL, [row(0.0)])
    assert beside.kind == "log"
    assert 0 < beside.low < 0.1 < beside.high
    assert alone.kind == "linear"
    assert alone.low < 0 < alone.high


def test_by_the_nines_coordinates_are_distances_from_one() -> None:
    """0.9, 0.99 and 0.999 are equally far apart."""
    axis = Axis(metric=COSINE, kind="nines", low=1e-4, high=1.0)
    steps = [axis.along(value) for value in (0.999, 0.99, 0.9)]
    assert steps == pytest.approx([0.25, 0.5, 0.75])
    assert axis.formula("low") == "isValid(datum.low) ? clamp(1 - datum.low, 0.0001, 1.0) : null"


def test_digits_towards_one_survive() -> None:
    """1 - 1.2345e-7 keeps the digits of its distance to 1, which seven digits would drop."""
    kept = Axis(metric=COSINE, kind="nines", low=1e-8, high=1.0).rounded(1 - 1.23456e-7)
    assert 1 - kept == pytest.approx(1.2346e-7, rel=1e-4)


def test_a_near_line_stretches_the_axis_and_a_far_one_is_named() -> None:
    """Chance at 6.4 beside 1e-4..1e-1 is drawn; a ratio of 61 beside 1.00..1.05 is put in words."""
    axis = fit(KL, [row(1e-4), row(1e-1)], [6.4])
    assert axis.shows(6.4)
    assert off(axis, "chance", 6.4) == ""
    ratio = Metric("perplexity_ratio", "?", unit="", worse="higher", intact=1.0, scale="log")
    axis = fit(ratio, [row(1.01), row(1.05)], [1.0, 61.0])
    assert axis.shows(1.0)
    assert not axis.shows(61.0)
    assert off(axis, "chance", 61.0) == "chance, 61.0 (off the axis)"


def test_an_intact_value_without_a_place_is_named() -> None:
    """0 has no place on a logarithmic axis, nor 1 by the nines."""
    assert "no place" in off(fit(KL, [row(0.1)]), "intact", 0.0)
    assert "no place" in off(fit(COSINE, [row(0.9)]), "intact", 1.0)


def test_an_interval_that_nearly_reaches_one_does_not_swallow_the_axis() -> None:
    """An upper end of 1 - 1e-12 is held a decade beyond the outermost value."""
    axis = fit(COSINE, [row(0.99, 0.98, 1 - 1e-12), row(0.9, 0.89, 0.91)])
    assert 3e-4 < axis.low <= 1e-3


@pytest.mark.parametrize("values", [(0.5,), (0.0,), (-3.0, -3.0), (1.0,), (1e-9, 1e3)])
@pytest.mark.parametrize("metric", [KL, COSINE, SQNR])
def test_every_axis_has_length_and_ticks(metric: Metric, values: tuple[float, ...]) -> None:
    """One value, equal values, exact zeros and ones: the axis is never empty or reversed."""
    axis = fit(metric, [row(value) for value in values])
    assert axis.low < axis.high
    ticks = axis.y()["axis"].get("values")
    assert ticks is None or (
        1 <= len(ticks) <= 9 and all(axis.low <= t <= axis.high for t in ticks)
    )


@pytest.mark.parametrize(
    ("drawn_at", "end"),
    [
        ([], "left"),
        ([(0.2, 0.01)], "right"),
        ([(0.9, 0.01)], "left"),
        ([(0.2, 0.01), (0.95, 0.01)], "middle"),
        ([(0.2, 0.01), (0.5, 0.01), (0.95, 0.01)], "left"),
        ([(0.1, 0.01), (0.6, 0.012)], "right"),
        ([(0.1, 0.9)], "left"),
    ],
)
def test_the_name_of_a_line_stands_where_nothing_is_drawn(
    drawn_at: list[tuple[float, float]], end: str
) -> None:
    """Left, right or in the middle; what is drawn far from the line is not in the way."""
    axis = fit(KL, [row(0.001), row(1.0)], [0.01])
    (line,) = lines(axis, {"cast": 0.01}, drawn_at=drawn_at)
    assert line["end"] == end
