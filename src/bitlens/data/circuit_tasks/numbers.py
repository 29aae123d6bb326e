"""The task of later years: what comes after the first half of a year that is later than another."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from bitlens.data.circuit_tasks.prompts import TaskPrompts, Vocabulary, Wording, drawn

EVENTS = [
    "war",
    "conflict",
    "struggle",
    "journey",
    "trip",
    "project",
    "plan",
    "voyage",
    "mission",
    "program",
    "campaign",
]
CENTURIES = range(11, 18)
YEARS = range(2, 99)
"""Later than the year 01 of the corrupt prompt, and with a later one."""
NAME = "greater-than"


def greater_than(vocabulary: Vocabulary, seed: int) -> TaskPrompts:
    """Greater-than (Hanna et al. 2023, arXiv 2305.00586): probability of the two-digit years that
    are later, less that of the others; in the corrupt prompt the year is 01.

    Where a tokenizer has single digits only, the first digit of the year: later ones less earlier
    ones; the year's own first digit may go on either way and is left out."""
    events = vocabulary.single(EVENTS) or EVENTS
    centuries = [c for c in CENTURIES if _halves(vocabulary, c)]
    if centuries:
        return drawn(NAME, vocabulary, seed, [lambda draw: _years(draw, events, centuries)])
    if all(_digits(vocabulary, c) for c in CENTURIES):
        found = drawn(NAME, vocabulary, seed, [lambda draw: _first_digits(draw, events)])
        return replace(found, note="years are single digits here: the first digit is predicted")
    reason = "years are neither two tokens of two digits nor four of one with this tokenizer"
    return TaskPrompts(task=NAME, reason=reason)


def _halves(vocabulary: Vocabulary, century: int) -> bool:
    """Whether every year of a century is the century's token and one more."""
    begin = vocabulary.after("year", f" {century}")
    of = (vocabulary.after(f"the year {century}", f"{year:02}") for year in range(100))
    return begin is not None and len(begin) == 1 and all(y is not None and len(y) == 1 for y in of)


def _digits(vocabulary: Vocabulary, century: int) -> bool:
    of = (vocabulary.after(f"the year {century}", f"{year:02}") for year in YEARS)
    return all(y is not None and len(y) == 2 for y in of)


def _years(draw: Random, events: list[str], centuries: list[int]) -> Wording:
    event, century, year = draw.choice(events), draw.choice(centuries), draw.choice(YEARS)
    return Wording(
        _told(event, century, year),
        _told(event, century, 1),
        tuple(f"{y:02}" for y in range(year + 1, 100)),
        tuple(f"{y:02}" for y in range(year + 1)),
    )


def _first_digits(draw: Random, events: list[str]) -> Wording:
    event, century = draw.choice(events), draw.choice(CENTURIES)
    ten = draw.randrange(1, 9)
    return Wording(
        _told(event, century, 10 * ten + draw.randrange(10)),
        _told(event, century, 1),
        tuple(str(digit) for digit in range(ten + 1, 10)),
        tuple(str(digit) for digit in range(ten)),
    )


def _told(event: str, century: int, year: int) -> str:
    return f"The {event} lasted from the year {century}{year:02} to the year {century}"
