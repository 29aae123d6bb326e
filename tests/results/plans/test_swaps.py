"""Swaps of one unit's bits for another's."""

import numpy as np
import pytest

from bitlens.results.plans.swaps import surely_less, swapped, swaps
from bitlens.results.plans.units import Option, PlanUnit, chosen

UNITS = [
    PlanUnit("a", 1, (Option("4", 4, 9.0), Option("8", 8, 5.0))),
    PlanUnit("b", 1, (Option("4", 4, 3.0), Option("8", 8, 1.0))),
    PlanUnit("c", 1, (Option("3", 3, 4.0), Option("4", 4, 2.0), Option("8", 8, 1.5))),
]


def test_swaps_by_hand() -> None:
    """b has 8 bits and a and c 4. Raising a for b gains 4 - 2; raising c for b costs 2 - 0.5;
    a cannot be raised for one bit of c, unless the budget has three to spare: that gains 4 - 2."""
    choice = chosen(UNITS, {"a": "4", "b": "8", "c": "4"})
    found = swaps(UNITS, choice, 16)
    told = [(s.raised, s.raised_to, s.lowered, s.lowered_to, s.gain, s.bits) for s in found]
    assert told == [("a", "8", "b", "4", 2.0, 16), ("c", "8", "b", "4", -1.5, 16)]
    wider = swaps(UNITS[::-1], choice, 19)
    assert [(s.raised, s.lowered, s.gain, s.bits) for s in wider] == [
        ("a", "b", 2.0, 16),
        ("a", "c", 2.0, 19),
        ("c", "b", -1.5, 16),
    ]
    assert swaps(UNITS, choice, 19, limit=1) == wider[:1]


def test_a_swapped_plan_is_as_promised() -> None:
    """Of random units, with every swap: the size and the effect that the swap names, within the
    budget, exactly two units changed; and as many swaps as there are pairs that fit."""
    random = np.random.default_rng(2)
    units = [
        PlanUnit(
            f"unit {number}",
            1,
            tuple(
                Option(str(place), int(bits), float(effect))
                for place, (bits, effect) in enumerate(
                    zip(random.integers(1, 20, 4), random.normal(size=4), strict=True)
                )
            ),
        )
        for number in range(8)
    ]
    choice = chosen(units, {unit.name: "1" for unit in units})
    found = swaps(units, choice, choice.bits + 2, limit=10_000)
    for swap in found:
        after = swapped(units, choice, swap)
        assert after.bits == swap.bits <= choice.bits + 2
        assert choice.effect - after.effect == pytest.approx(swap.gain)
        assert sum(after.formats[name] != one for name, one in choice.formats.items()) == 2
    assert [swap.gain for swap in found] == sorted((swap.gain for swap in found), reverse=True)
    pairs = sum(
        one is not other
        and up.bits > one.options[1].bits
        and down.bits < other.options[1].bits
        and up.bits - one.options[1].bits + down.bits - other.options[1].bits <= 2
        for one in units
        for other in units
        for up in one.options
        for down in other.options
    )
    assert len(found) == pairs > 50


def test_nothing_to_swap() -> None:
    """Where all are as large as they can be, none is raised."""
    assert swaps(UNITS, chosen(UNITS, dict.fromkeys("abc", "8")), 99) == []


def test_a_difference_is_sure_only_with_its_whole_interval() -> None:
    """One that crosses nothing, ends on it, has no interval, or is of few documents is not."""
    cases = [(-0.1, 20), (0.0, 20), (0.1, 20), (None, 20), (-0.1, 19)]
    found = [surely_less({"value": -0.5, "high": h, "documents": n}) for h, n in cases]
    assert found == [True, *[False] * 4]
