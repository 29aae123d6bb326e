"""Small changes of a plan that keep its size: one unit gets more bits, another fewer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitlens.results.plans.units import Choice, PlanUnit, chosen
from bitlens.results.records import FEWEST

MOST = 1000
"""Raises, and as many lowerings, that are paired: those that promise most."""


@dataclass(frozen=True, kw_only=True)
class Swap:
    """A unit that is raised and another that is lowered."""

    raised: str
    raised_to: str
    """The format that it gets instead; a larger one."""
    lowered: str
    lowered_to: str
    """A smaller one."""
    gain: float
    """By how much the sum of effects falls, as promised; below 0 where it rises."""
    bits: int
    """Of the whole plan afterwards."""


@dataclass(frozen=True)
class _Move:
    unit: str
    to: str
    bits: int
    """More than now."""
    effect: float
    """More than now."""


def swaps(units: Sequence[PlanUnit], choice: Choice, budget: int, limit: int = 100) -> list[Swap]:
    """The swaps after which the plan takes at most `budget` bits in all, those that promise most
    first; of equal promises the smaller plan. At most `limit`, in an order that does not depend on
    that of the units.

    Of the plan of least effect no swap promises a gain: the first are those that promise to cost
    least, and may win once they are measured.
    """
    moves = [
        _Move(unit.name, option.format, option.bits - now.bits, option.effect - now.effect)
        for unit in sorted(units, key=lambda unit: unit.name)
        for now in [unit.by_format[choice.formats[unit.name]]]
        for option in sorted(unit.options, key=lambda option: option.format)
    ]
    moves.sort(key=lambda move: move.effect)
    up = [move for move in moves if move.bits > 0][:MOST]
    down = [move for move in moves if move.bits < 0][:MOST]
    if not up or not down:
        return []
    bits, effect = (
        np.array([getattr(move, of) for move in up])[:, None]
        + np.array([getattr(move, of) for move in down])
        for of in ("bits", "effect")
    )
    other = np.array([one.unit for one in up])[:, None] != np.array([one.unit for one in down])
    rows, columns = np.nonzero(other & (choice.bits + bits <= budget))
    order = np.lexsort((columns, rows, bits[rows, columns], effect[rows, columns]))[:limit]
    return [
        Swap(
            raised=up[row].unit,
            raised_to=up[row].to,
            lowered=down[column].unit,
            lowered_to=down[column].to,
            gain=-float(effect[row, column]),
            bits=choice.bits + int(bits[row, column]),
        )
        for row, column in zip(rows[order], columns[order], strict=True)
    ]


def swapped(units: Sequence[PlanUnit], choice: Choice, swap: Swap) -> Choice:
    """The plan after a swap."""
    changed = {swap.raised: swap.raised_to, swap.lowered: swap.lowered_to}
    return chosen(units, {**choice.formats, **changed})


def surely_less(more: Mapping[str, Any]) -> bool:
    """Whether a measured difference, after less before, has its whole interval below nothing. One
    without an interval, or of few documents, is not sure."""
    return more["documents"] >= FEWEST and more["high"] is not None and more["high"] < 0
