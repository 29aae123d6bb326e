"""Units of a plan with the formats each may have, and what one format for each of them comes to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bitlens.errors import InputError


@dataclass(frozen=True)
class Option:
    """A format that a unit may have."""

    format: str
    """The text form of a compression, `rtn:bits=4,group=64`."""
    bits: int
    """What the whole unit takes in it, scales and zeros included: bits in all, not per weight."""
    effect: float
    """What it costs, in the unit of the measure that is protected; below 0 where it helps."""


@dataclass(frozen=True)
class PlanUnit:
    """Matrices that have one format: a block, what a kernel fuses, one matrix, an embedding."""

    name: str
    weights: int
    """How many numbers its matrices hold; of tied ones, once."""
    options: tuple[Option, ...]
    """Each format once. BitlensError for an effect that is no finite number."""

    def __post_init__(self) -> None:
        formats = [option.format for option in self.options]
        if not formats or len(set(formats)) < len(formats):
            raise ValueError(f"{self.name} needs formats, each once: {formats}")
        for option in self.options:
            if not math.isfinite(option.effect):
                raise InputError(
                    f"The effect of {option.format} on {self.name} is {option.effect}.",
                    "a finite number for every format of every unit.",
                    "a plan without this format.",
                )

    @cached_property
    def by_format(self) -> dict[str, Option]:
        """Its options by their formats."""
        return {option.format: option for option in self.options}

    @cached_property
    def frontier(self) -> tuple[Option, ...]:
        """The options that are worth their size, the smallest first: each has less effect than
        every smaller one. Of equal ones the first by name."""
        kept: list[Option] = []
        for one in sorted(self.options, key=lambda o: (o.bits, o.effect, o.format)):
            if not kept or one.effect < kept[-1].effect:
                kept.append(one)
        return tuple(kept)


@dataclass(frozen=True)
class Choice:
    """One format for every unit."""

    formats: Mapping[str, str]
    """By the names of units, in the order of these."""
    bits: int
    """Of all units together."""
    effect: float
    """The sum of the units' effects: what is promised, not what was measured together."""
    unproven: float = 0.0
    """By how much another choice might promise less effect; 0 where it is proven that none does,
    and of what was not sought as the best."""


def chosen(units: Sequence[PlanUnit], formats: Mapping[str, str]) -> Choice:
    """What these formats come to. KeyError for a unit without a format, or one it may not have."""
    ordered = sorted(units, key=lambda unit: unit.name)
    picked = [unit.by_format[formats[unit.name]] for unit in ordered]
    return Choice(
        {unit.name: option.format for unit, option in zip(ordered, picked, strict=True)},
        sum(option.bits for option in picked),
        math.fsum(option.effect for option in picked),
    )


def require_room(units: Sequence[PlanUnit], budget: int) -> None:
    """BitlensError where even the smallest format of every unit is more than the budget, in bits in
    all; what it says is in bits per weight."""
    smallest = sum(min(option.bits for option in unit.options) for unit in units)
    weights = sum(unit.weights for unit in units)
    if smallest > budget:
        # Rounded away from what does not fit, so that what is told can be typed.
        least = math.ceil(1000 * smallest / weights) / 1000
        raise InputError(
            f"The budget is {budget / weights:.4g} bits per weight, {budget:,} bits in all; the"
            f" smallest formats that are offered take {least:g}, {smallest:,} in all.",
            f"at least {least:g} bits per weight.",
            f"--budget {least:g}, or a smaller format among --formats.",
        )
