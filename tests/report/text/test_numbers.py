"""Numbers are written with the digits their intervals support."""

import pytest

from bitlens.report.text.numbers import (
    amount,
    decimals,
    figure,
    margin,
    plain,
    running,
    size,
    times,
    token,
)


def estimate(value: float | None, low: float | None = None, high: float | None = None) -> dict:
    """An estimate as a row of the store."""
    return {"value": value, "low": low, "high": high, "reason": "too few documents"}


def test_interval_decides_the_digits() -> None:
    """0.02134 with a longer half of 0.00146 has four decimals: 0.0014|6 is its second digit."""
    assert decimals(0.02134, 0.01992, 0.0228) == 4
    written = amount(estimate(0.02134, 0.01992, 0.0228), "nats")
    assert written == "0.0213 nats [0.0199, 0.0228]"


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (0.0213, "", "0.0213"),
        (12345.6, "", "12,346"),
        (0.94123, "share", "94.1 %"),
        (1.0, "share", "100 %"),
        (0.0, "nats", "0 nats"),
        (-0.0123, "", "−0.0123"),
        (2.34e-6, "nats", "2.3e−6 nats"),
    ],
)
def test_bare_numbers(value: float, unit: str, written: str) -> None:
    """Without an interval three digits stand; shares are percentages; minus signs are true."""
    assert figure(value, unit) == written


def test_negative_zero_has_no_sign() -> None:
    """What rounds to zero is zero."""
    assert plain(-0.0004, 2) == "0.00"


@pytest.mark.parametrize(
    ("row", "unit", "written"),
    [
        (estimate(0.0250, 0.0234, 0.0267), "", "0.0250 ±0.0017"),
        (estimate(0.0250, 0.0170, 0.0330), "", "0.025 ±0.008"),
        (estimate(6.7e-5, 6.2e-5, 7.2e-5), "", "(6.7 ±0.5)e−5"),
        (estimate(0.9336, 0.9296, 0.9376), "share", "93.4 ±0.4 %"),
        (estimate(-0.0004, -0.0084, 0.0076), "share", "0.0 ±0.8 %"),
        (estimate(0.5), "", "0.500"),
        (estimate(None), "", "–"),
        (None, "", "–"),
    ],
)
def test_margins(row: dict | None, unit: str, written: str) -> None:
    """± is the longer half, with two digits only where they begin with 1 to 3.54."""
    assert margin(row, unit) == written


def test_unknown_values_give_their_reason() -> None:
    """A sentence never holds a blank where a number should be."""
    assert amount(estimate(None)) == "not known (too few documents)"


def test_small_words() -> None:
    """Ratios, sizes and counts read as a person would say them."""
    assert [times(x) for x in (1619.2, 1.36, 0.834)] == ["1,619 times", "1.36 times", "0.83 times"]
    assert [size(x) for x in (812, 5_242_880, 13.5e9)] == ["812 B", "5.24 MB", "13.5 GB"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [(" cat", "␣cat"), ("a b ", "a b␣"), ("  ", "␣␣"), ("\n\t", "↵⇥"), ("", "(empty)")],
)
def test_a_token_by_itself_is_seen_whole(text: str, seen: str) -> None:
    """Spaces at its ends, line breaks, tabs, and nothing at all; spaces within stay."""
    assert token(text) == seen


def test_running_text_stays_on_its_line() -> None:
    """Every kind of line break is one mark; spaces stay."""
    assert running("a b\r\nc\rd\te\n") == "a b↵c↵d⇥e↵"


def test_an_interval_of_no_length_is_left_out() -> None:
    """All documents alike: 100 %, not 100 % [100, 100]."""
    assert amount(estimate(1.0, 1.0, 1.0), "share") == "100 %"


def test_an_interval_of_rounding_alone_is_none() -> None:
    """0.1 + 0.2 is not 0.3, and says nothing of how sure a number is."""
    row = {"value": 0.3, "low": 0.3, "high": 0.1 + 0.2, "reason": None}
    assert (amount(row), margin(row, "share")) == ("0.300", "30.0 %")
