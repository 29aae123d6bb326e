"""The choice of formats with the least effect that fits a budget: a multiple-choice knapsack
(Sinha and Zoltners 1979), solved as an integer program."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from bitlens.errors import CapacityError
from bitlens.results.plans.units import Choice, PlanUnit, chosen, require_room

SECONDS = 60.0
"""Of one search; 336 units of six formats take about one."""
LARGEST = 1e4
"""The largest difference of effects within a unit, as the solver is told it: its own tolerances
are absolute, about 1e-6, and a divergence of 1e-6 would be nothing to it."""
TIE = 1e-3
"""Beside that, what the largest step in size costs: it decides between equal effects alone."""
CUTS = 20
"""Choices that are too large by less than the solver sees, forbidden one by one."""


def cheapest(units: Sequence[PlanUnit], budget: int, seconds: float = SECONDS) -> Choice:
    """One format for every unit, with the least sum of effects of all that take no more than
    `budget` bits in all.

    Effects count as equal where they differ by less than about 1e-7 of the largest difference
    within a unit. Of equal choices the smaller is taken, and of those of one size the one in which
    the first units by name keep more: the order in which units are given changes nothing. Where
    `seconds` were not enough for the proof, `unproven` says by how much the effect may be too
    large. BitlensError where nothing fits, and where nothing was found in time.
    """
    require_room(units, budget)
    ordered = sorted(units, key=lambda unit: unit.name)
    room = budget - sum(unit.frontier[0].bits for unit in ordered)
    over: list[Sequence[int]] = []
    while True:
        # Exact first; where a great many are too large by next to nothing, safe.
        spare = max(0, len(over) - CUTS) * (room // 10**6 + 1)
        picked, unproven = _solve(ordered, max(0, room - spare), seconds, over)
        pairs = zip(ordered, picked, strict=True)
        choice = chosen(ordered, {unit.name: unit.frontier[at].format for unit, at in pairs})
        if choice.bits <= budget:
            return replace(choice, unproven=unproven)
        over.append(picked)


def _solve(
    units: Sequence[PlanUnit], room: int, seconds: float, over: Sequence[Sequence[int]]
) -> tuple[Sequence[int], float]:
    """Which option of its frontier each unit gets, and how far the sum may be from the least.

    `room`: bits there are beyond every unit's smallest, which the solver holds to within a
    millionth; `over`: what it chose and was too large, which it is told of as cover cuts: not
    everywhere as much or more."""
    # scipy.optimize takes half a second to load, and whoever reads results needs none of it.
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    options = [option for unit in units for option in unit.frontier]
    unit = np.repeat(np.arange(len(units)), [len(one.frontier) for one in units])
    least = np.array([one.frontier[-1].effect for one in units])
    extra = np.array([o.bits - one.frontier[0].bits for one in units for o in one.frontier])
    lost = np.array([option.effect for option in options]) - least[unit]
    scale = LARGEST / (lost.max() or 1.0)
    # No two sums of square roots agree by chance: 1 + 4 is 2 + 3, their roots' sums are not.
    early = np.sqrt(1 + (1 + unit) / len(units))
    step = int(np.gcd.reduce(extra)) or 1
    one_each = coo_array((np.ones(len(unit)), (unit, np.arange(len(unit))))).tocsr()
    place = np.concatenate([np.arange(len(one.frontier)) for one in units])
    covers = [LinearConstraint((place >= np.array(o)[unit])[None], 0, len(units) - 1) for o in over]
    with _unheard():
        found = milp(
            scale * lost + TIE * early * extra / (extra.max() or 1),
            constraints=[
                LinearConstraint(one_each, 1, 1),
                LinearConstraint((extra // step)[None].astype(float), -np.inf, float(room // step)),
                *covers,
            ],
            integrality=1,
            bounds=Bounds(0, 1),
            options={"time_limit": seconds, "mip_rel_gap": 0.0},
        )
    if found.x is None:
        raise CapacityError(
            f"No plan of {len(units)} units and {len(options)} formats was found in"
            f" {seconds:g} seconds: {found.message}",
            "fewer units, or fewer formats for each.",
            "--unit block, or fewer --formats.",
        )
    picked = [int(np.argmax(part)) for part in np.split(found.x, np.flatnonzero(np.diff(unit)) + 1)]
    gap = 0.0 if found.status == 0 else (found.fun - found.mip_dual_bound) / scale
    return picked, max(0.0, gap)


@contextmanager
def _unheard() -> Iterator[None]:
    """Nothing written to standard output meanwhile: HiGHS 1.12 has lines of its own that no option
    turns off, and a command's output may be read by a machine."""
    sys.stdout.flush()
    heard, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(heard, 1)
        os.close(heard)
        os.close(nowhere)
