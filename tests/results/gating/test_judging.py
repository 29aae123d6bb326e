"""A number passes, fails or stays open by its whole interval; an open one says what it lacks."""

import math
from typing import Any

import pytest

from bitlens.results.gating.judging import CROSSES, MOST, judge, worst
from bitlens.results.records import TOO_FEW
from tests.support.gate_stores import HALF, MEAN, SPREAD, T19, rule


def row(low: float | None, high: float | None, **known: Any) -> dict[str, Any]:
    """A number in the middle of its interval, of 20 documents."""
    value = None if low is None or high is None else (low + high) / 2
    return {"value": value, "low": low, "high": high, "documents": 20, "reason": None, **known}


@pytest.mark.parametrize(
    ("side", "low", "high", "verdict"),
    [
        ("at_most", 0.6, 0.75, "pass"),
        ("at_most", 0.6, 0.76, "undecided"),
        ("at_most", 0.75, 0.8, "undecided"),
        ("at_most", 0.76, 0.8, "fail"),
        ("at_least", 0.75, 0.8, "pass"),
        ("at_least", 0.74, 0.8, "undecided"),
        ("at_least", 0.6, 0.75, "undecided"),
        ("at_least", 0.6, 0.74, "fail"),
    ],
)
def test_the_whole_interval_decides(side: str, low: float, high: float, verdict: str) -> None:
    """What reaches the bound is still within it, and not beyond it."""
    assert judge(rule(0.75, side=side), row(low, high)).verdict == verdict


def test_without_an_interval_nothing_is_decided() -> None:
    """However far the value is from the bound; the reason is the number's own."""
    told = judge(rule(0.75), row(None, None, value=0.1, reason="a maximum has none"))
    assert (told.verdict, told.reason, told.needed) == ("undecided", "a maximum has none", None)


def test_documents_that_would_decide_go_with_the_square_of_the_width() -> None:
    """By hand, of 20 documents: n = (t s / w)^2 with s^2 the variance between documents, 20 / 19 of
    the squared spread, and w the way to the bound; of 5, whose t is 2.776, it is as if it were t of
    20, and s is the spread of (-2, -2, 0, 2, 2) / 2."""
    way = 0.002
    found = judge(rule(MEAN + way), row(MEAN - HALF, MEAN + HALF))
    assert (found.verdict, found.reason) == ("undecided", CROSSES)
    assert found.needed == math.ceil((T19 * SPREAD / way) ** 2 * 20 / 19) == 116
    half = 2.776445 * SPREAD / 5**0.5
    few = judge(rule(MEAN - way), row(MEAN - half, MEAN + half, documents=5))
    assert (few.verdict, few.reason, few.needed) == ("undecided", TOO_FEW, 110)


def test_that_many_documents_do_decide() -> None:
    """The half of an interval shrinks with the root of the documents: at the number it reaches the
    bound, and at a document less it crosses it, also on a scale that bends, where both halves of
    the interval differ."""
    low, value, high = 0.2, 0.4, 0.8
    found = judge(rule(0.5), row(low, high, value=value), "log")
    assert found.needed is not None
    for documents, verdict in ((found.needed, "pass"), (found.needed - 1, "undecided")):
        factor = math.exp(math.log(high / value) * (20 / documents) ** 0.5)
        later = row(value / factor, value * factor, value=value, documents=documents)
        assert judge(rule(0.5), later, "log").verdict == verdict


@pytest.mark.parametrize("way", [0.0, HALF / (MOST**0.5 + 0.1)])
def test_on_the_bound_no_number_is_named(way: float) -> None:
    """Where it lies on it, or where it would take more than a hundred times the documents."""
    assert judge(rule(MEAN + way), row(MEAN - HALF, MEAN + HALF)).needed is None
    edge = row(0.0, 0.1, value=0.0)
    assert judge(rule(0.0), edge, "log").needed is None
    near = HALF / (MOST**0.5 - 0.1)
    assert judge(rule(MEAN + near), row(MEAN - HALF, MEAN + HALF)).needed is not None


def test_few_documents_decide_nothing_but_by_a_point() -> None:
    """An interval of 19 documents does not cover what it says; one of no length is no guess."""
    few = judge(rule(0.75), row(0.1, 0.2, documents=19))
    assert (few.verdict, few.reason, few.needed) == ("undecided", TOO_FEW, 20)
    assert judge(rule(0.75), row(0.1, 0.1, documents=3)).verdict == "pass"


def test_a_failure_outweighs_doubt() -> None:
    """And doubt outweighs what passes."""
    assert worst(["pass", "undecided", "fail"]) == "fail"
    assert worst(["pass", "undecided"]) == "undecided"
