"""A gate says what it found in words that fit a line."""

from typing import Any

import pytest

from bitlens.report.gating.told import GateWords, shown_first
from bitlens.results.gating.judging import CROSSES, JudgedNumber, JudgedRule
from bitlens.results.records import TOO_FEW
from tests.support import results
from tests.support.gate_stores import RTN, rule

METRICS = {
    "a.share": {"unit": "share"},
    "a.kl": {"unit": "nats"},
    "heads.x": {"unit": ""},
}
WORDS = GateWords(results.manifest(metrics=METRICS, corpora=[results.corpus(documents=40)]))


def number(verdict: str = "fail", **known: Any) -> JudgedNumber:
    """Of a share, 70 % [68, 72], at a site."""
    about = {name: known.pop(name) for name in ("reason", "needed") if name in known}
    place = {"model": "m", "compression": RTN, "analysis": "a", "metric": "share", "seed": 0}
    place |= {"site": "resid.2", "item": "sae", "documents": 40}
    value = {"value": 0.7, "low": 0.68, "high": 0.72}
    return JudgedNumber(row={**place, **value, **known}, verdict=verdict, **about)


def test_a_number_stands_with_its_interval_and_its_place() -> None:
    """In the unit of its metric, as everywhere; a difference of shares in points."""
    one = rule(0.75, metric="a.share", side="at_least")
    assert WORDS.number(one, number()) == f"{RTN} at resid.2 (sae): 70.0 % [68.0, 72.0]"
    assert WORDS.rule(JudgedRule(rule=one, numbers=(number(),))) == "a.share at least 75 %"
    noise = rule(0.75, metric="a.share", side="at_least", against="noise")
    assert WORDS.number(noise, number()) == f"{RTN} at resid.2 (sae): 70.0 points [68.0, 72.0]"
    told = WORDS.rule(JudgedRule(rule=noise, numbers=(number(),)))
    assert told == "a.share minus noise at least 75 points"
    assert WORDS.number(rule(1, metric="a.*"), number()).startswith("a.share of rtn")


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"needed": 55}, "about 55 documents would decide it, 40 were read"),
        ({"needed": 50, "documents": 20}, "about 2.5 times as many documents would decide it"),
        ({"needed": 60, "analysis": "heads", "metric": "x"}, "about 1.5 times as many documents"),
        ({"needed": None}, "it lies on the bound: 100 times the documents would not decide it"),
    ],
)
def test_an_open_number_says_what_would_decide_it(known: dict[str, Any], said: str) -> None:
    """In documents where it was taken over all that were read, else in times as many."""
    one = rule(0.7, metric="a.share", side="at_least")
    told = WORDS.number(one, number("undecided", reason=CROSSES, **known))
    assert f"; {said}" in told


def test_of_too_few_documents_no_interval_is_shown() -> None:
    """As on the page; and how many would be enough."""
    few = number("undecided", reason=TOO_FEW, needed=110, documents=5)
    words = GateWords(results.manifest(metrics=METRICS, corpora=[results.corpus(documents=5)]))
    told = words.number(rule(0.7, metric="a.share"), few)
    assert told.endswith(
        "70.0 % [too few documents to say]; about 110 documents would decide it, 5 were read"
    )


def test_what_has_no_value_says_why() -> None:
    """And what may not be trusted does so behind its value."""
    one = rule(0.7, metric="a.share")
    gone = number("undecided", value=None, low=None, high=None, reason="it failed")
    assert WORDS.number(one, gone) == f"{RTN} at resid.2 (sae): it failed"
    doubted = WORDS.number(one, number("undecided", reason="the SAE does not fit"))
    assert doubted.endswith("[68.0, 72.0]; the SAE does not fit")


def test_numbers_are_counted() -> None:
    """What fails before what is open."""
    fails, open_ = number("fail"), number("undecided", reason=CROSSES)
    mixed = JudgedRule(rule=rule(1), numbers=(fails, fails, open_, number("pass")))
    assert WORDS.counted(mixed) == "2 of 4 numbers fail, 1 cannot be decided"
    assert WORDS.counted(JudgedRule(rule=rule(1), numbers=(number("pass"),))) == "1 number"
    assert WORDS.counted(JudgedRule(rule=rule(1), reason="not finished")) == "not finished"


def test_the_worst_comes_first() -> None:
    """Failures before doubts, the farthest beyond the bound before the others."""
    far, near = number("fail", value=0.9), number("fail", value=0.8)
    doubt, gone = number("undecided", value=0.95), number("undecided", value=None)
    found = shown_first(JudgedRule(rule=rule(0.5), numbers=(doubt, near, far, number("pass"))))
    assert found == [far, near, doubt]
    low = JudgedRule(rule=rule(0.99, side="at_least"), numbers=(far, near, gone))
    assert shown_first(low) == [near, far, gone]


def test_names_cannot_begin_a_line() -> None:
    """Nor hide in one."""
    told = WORDS.number(rule(1, metric="a.share"), number(item="a\nPASS‮"))
    assert "\n" not in told
    assert "⟨U+202E⟩" in told
