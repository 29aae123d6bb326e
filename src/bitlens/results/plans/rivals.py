"""What a plan is held against: one format everywhere, and plans of its size drawn at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bitlens.results.plans.units import Choice, PlanUnit, chosen, require_room
from bitlens.seeds import generator

NEAR = 0.01
"""Two plans are of one size where they differ by no more than so much of the budget."""
DRAWS = 20
"""Tries for each random plan that is asked for."""


@dataclass(frozen=True)
class Uniform:
    """One format for every unit that has more than one to choose from."""

    format: str
    choice: Choice
    size: Literal["same", "smaller", "larger"]
    """Beside the budget."""


def uniform(units: Sequence[PlanUnit], budget: int) -> tuple[Uniform, ...]:
    """The uniform plan whose size is the budget to within `NEAR`, the one of least effect if there
    are several; where there is none, the nearest smaller and the nearest larger one, if there are
    any. A unit with one option has that in all of them. Empty where the units share no format.
    """
    free = [unit for unit in units if len(unit.options) > 1]
    shared = set.intersection(*(set(unit.by_format) for unit in free)) if free else set[str]()
    plans = []
    for name in sorted(shared):
        formats = {
            unit.name: name if len(unit.options) > 1 else unit.options[0].format for unit in units
        }
        plans.append((name, chosen(units, formats)))
    same = [plan for plan in plans if abs(plan[1].bits - budget) <= NEAR * budget]
    if same:
        return (Uniform(*min(same, key=lambda plan: plan[1].effect), "same"),)
    smaller = [plan for plan in plans if plan[1].bits < budget]
    larger = [plan for plan in plans if plan[1].bits > budget]
    found = []
    if smaller:
        nearest = min(smaller, key=lambda plan: (-plan[1].bits, plan[1].effect))
        found.append(Uniform(*nearest, "smaller"))
    if larger:
        nearest = min(larger, key=lambda plan: (plan[1].bits, plan[1].effect))
        found.append(Uniform(*nearest, "larger"))
    return tuple(found)


def random_plans(units: Sequence[PlanUnit], budget: int, *, count: int, seed: int) -> list[Choice]:
    """Up to `count` different plans that take at most `budget` bits in all, and at least `1 - NEAR`
    of it, drawn without looking at effects.

    Every unit draws one of its formats, each with the same chance. While that is too large, a unit
    drawn from those that can is put one size down; then, while any can be put one size up within
    the budget, a unit drawn from those is. Of formats of one size one is drawn. What ends too far
    below is drawn again, `DRAWS` times for each plan that is asked for: of few units there may be
    none. BitlensError where nothing fits.
    """
    require_room(units, budget)
    ordered = sorted(units, key=lambda unit: unit.name)
    found: dict[tuple[str, ...], Choice] = {}
    for number in range(DRAWS * count):
        if len(found) == count:
            break
        plan = _drawn(ordered, budget, generator(seed, "random plan", number))
        if plan.bits >= (1 - NEAR) * budget:
            found.setdefault(tuple(plan.formats.values()), plan)
    return list(found.values())


def _drawn(units: Sequence[PlanUnit], budget: int, random: np.random.Generator) -> Choice:
    sizes = [np.unique([option.bits for option in unit.options]) for unit in units]
    place = np.array(
        [
            np.searchsorted(steps, unit.options[random.integers(len(unit.options))].bits)
            for unit, steps in zip(units, sizes, strict=True)
        ]
    )
    bits = np.array([steps[at] for steps, at in zip(sizes, place, strict=True)])
    last = np.array([len(steps) - 1 for steps in sizes])

    def move(unit: int, by: int) -> None:
        place[unit] += by
        bits[unit] = sizes[unit][place[unit]]

    while bits.sum() > budget:
        move(random.choice(np.flatnonzero(place > 0)), -1)
    above = [np.append(np.diff(steps), np.iinfo(np.int64).max) for steps in sizes]
    while True:
        rise = np.array([steps[at] for steps, at in zip(above, place, strict=True)])
        fitting = np.flatnonzero((place < last) & (rise <= budget - bits.sum()))
        if not len(fitting):
            break
        move(random.choice(fitting), 1)
    formats = {}
    for unit, size in zip(units, bits, strict=True):
        names = sorted(option.format for option in unit.options if option.bits == size)
        formats[unit.name] = names[random.integers(len(names))]
    return chosen(units, formats)
