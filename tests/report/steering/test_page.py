"""The page of a steering run: what its heading claims, and what it does not."""

from typing import Any

import pytest

from bitlens.report.page.parts import Table
from bitlens.report.steering.page import page


def number(model: str, metric: str, value: float, half: float, direction: str = "vector") -> Any:
    """A number with its interval."""
    return {
        "model": model, "direction": direction, "metric": metric, "multiplier": None,
        "value": value, "low": value - half, "high": value + half, "documents": 20, "reason": None,
    }  # fmt: skip


def run(*rows: Any, random: float = 0.1, together: float = 0.1, noise: Any = None) -> Any:
    """A reference of slope 1, and a twin `t` of 0.8 of it, with or without noise beside it."""
    beside = [] if noise is None else [
        number("t", "slope_ratio_of_noise", 0.9, 0.05),
        number("t", "slope_ratio_less_noise", *noise),
    ]  # fmt: skip
    return {
        "tool": {"version": "0"}, "command": "bitlens steer", "name": "m", "site": "resid.1",
        "vector": "v", "norm": 1.0, "norm_share": 0.1, "positive": "yes", "negative": "no",
        "answers": [" a"], "prompts": 9, "neutral": "text", "twins": ["t"], "controls": [],
        "notes": [], "rows": [
            number("reference", "slope", 1.0, 0.1), number("t", "slope", 0.8, 0.1),
            number("reference", "slope", random, 0.05, "random"),
            number("t", "slope_ratio", 0.8, 0.1),
            number("t", "slope_ratio_together", 0.8, together), *beside, *rows,
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "t answers to the vector with 80 % of the reference's slope"),
        ({"noise": (-0.1, 0.05)}, "80 % of the reference's slope, noise of its size with 90 %"),
        ({"noise": (-0.1, 0.2)}, "not surely otherwise than noise of its size (90 %)"),
        ({"together": 0.3}, "No twin surely answers"),
        ({"random": 0.9}, "does not surely steer the reference"),
        ({"random": 3.0}, "does not surely steer the reference"),
    ],
)
def test_the_heading_claims_what_is_sure(given: Any, said: str) -> None:
    """A slope below the reference's by the interval of all twins together, with what noise does;
    nothing where a random direction does as much as the vector, or more."""
    found = page(run(**given)).sections[0].found
    assert found is not None
    assert said in found.text


def test_few_texts_claim_nothing() -> None:
    """Of 19 texts no interval is shown and no twin named; five random directions keep theirs."""
    given = run()
    for row in given["rows"]:
        row["documents"] = 5 if row["direction"] == "random" else 19
    sections = page(given).sections
    assert sections[0].found is not None
    assert "does not surely steer" in sections[0].found.text
    table = next(one for one in sections if one.anchor == "models").parts[0]
    assert isinstance(table, Table)
    assert (table.rows[0][1], table.rows[0][-1]) == ("1 ±?", "0.10 ±0.05")


def test_random_directions_without_numbers_leave_nothing_sure() -> None:
    """Where one of them overflowed, its reason is told."""
    given = run()
    given["rows"][2] |= {"value": None, "low": None, "high": None, "reason": "not finite"}
    found = page(given).sections[0].found
    assert found is not None
    assert "does not surely steer" in found.text
    assert "not known (not finite)" in str(found)


def test_directions_that_were_looked_at_are_listed() -> None:
    """The chosen one first, and why others may not be; nothing where none was looked for."""
    looked_at = [
        {"site": "resid.1", "token": -1, "bypass": -2.5, "induced": 0.3, "kl": 0.04, "against": ""},
        {"site": "resid.0", "token": -2, "bypass": -9.0, "induced": 0.1, "kl": None,
         "against": "not finite"},
    ]  # fmt: skip
    found = page({**run(), "candidates": looked_at})
    section = next(one for one in found.sections if one.anchor == "search")
    table = section.parts[1]
    assert isinstance(table, Table)
    assert table.rows == (
        ("resid.1", "−1", "−2.50", "0.30", "0.04", "chosen"),
        ("resid.0", "−2", "−9.00", "0.10", "–", "not finite"),
    )
    assert not [one for one in page(run()).sections if one.anchor == "search"]
