"""The heading of a section names who kept most and who least, and only where that is sure."""

from bitlens.report.text.extremes import apart, each, most_and_least


def row(value: float, half: float | None) -> dict[str, object]:
    """An estimate with an interval of this half, or without one."""
    low, high = (None, None) if half is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high, "reason": None}


def test_intervals_that_touch_are_not_apart() -> None:
    """0.9 ±0.1 and 0.7 ±0.1 meet at 0.8; without intervals nobody can say."""
    assert not apart(row(0.9, 0.125), row(0.75, 0.125))
    assert apart(row(0.9, 0.05), row(0.7, 0.05))
    assert apart(row(0.7, 0.05), row(0.9, 0.05))
    assert not apart(row(0.9, None), row(0.1, 0.05))


def test_the_best_and_the_worst_are_named_with_their_numbers() -> None:
    """In the heading with one decimal, under it with intervals, the best first."""
    (found,) = most_and_least({"a": row(0.5, 0.02), "b": row(0.9, 0.02)}, "its features")
    assert found.text == "b keeps 90.0 % of its features, a 50.0 %"
    assert found.numbers == "b 90.0 % [88.0, 92.0]; a 50.0 % [48.0, 52.0]."


def test_what_is_not_sure_is_not_claimed() -> None:
    """Overlapping intervals name nobody; one twin is no ranking; no twin has no heading."""
    (found,) = most_and_least({"a": row(0.88, 0.05), "b": row(0.9, 0.05)}, "its features")
    assert found.text == "No twin surely keeps more of its features than another"
    (alone,) = most_and_least({"a": row(0.88, 0.05)}, "its features")
    assert alone.text == "a keeps 88.0 % of its features"
    assert most_and_least({}, "its features") == ()


def test_of_many_both_ends_are_shown() -> None:
    """Two from the front, two from the back; differences of shares are points."""
    told = each({name: row(i / 100, None) for i, name in enumerate("abcdef")}, "points")
    assert told == "a 0 points; b 1 points; ...; e 4.00 points; f 5.00 points"
