"""What is audited beside a plan: its units with their formats, and the plans it is held against."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bitlens.compression import format_spec, parse_spec
from bitlens.compression.mixture import KEEP, mixture
from bitlens.errors import BitlensError, InputError
from bitlens.registry import nearest
from bitlens.results.plans.cheapest import cheapest
from bitlens.results.plans.measured import ALONE, BOTH, SCALED
from bitlens.results.plans.rivals import random_plans, uniform
from bitlens.results.plans.units import Choice, Option, PlanUnit
from bitlens.results.sensitivity.folder import Sensitivity
from bitlens.results.sensitivity.proxies import scores
from bitlens.results.sensitivity.records import SQNR, Unit, Way

MOST_BITS = 64
"""Bits per weight that no model is stored in."""
RANDOM = 3
"""Random plans of the size."""
_Effect = Callable[[str, Unit], float]
"""Of a format on a unit."""


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """A plan that is to be audited."""

    name: str
    choice: Choice
    promised: float | None
    """The sum of the effects it was made by; None where that was another score."""
    compression: str
    """Its text as a mixture."""


class Candidates:
    """The units of a sensitivity run, and the plans that can be made of them."""

    def __init__(self, run: Sensitivity, measure: str, formats: Sequence[str]) -> None:
        self.run, self.measure = run, measure
        self.formats = _formats(run, formats)
        inside = [unit for unit in run.units if unit.block is not None]
        self._sizes = {text: run.bits(text) for text in self.formats}
        self._inside = [u for u in inside if all(u.name in of for of in self._sizes.values())]
        if not self._inside:
            raise InputError(
                f"No unit of {run.root} has a size under {', '.join(self.formats)}.",
                "compressions that take the blocks' matrices.",
                "bitlens sensitivity again, with others.",
            )
        self.weights = sum(unit.parameters for unit in self._inside)
        alone = self._measured("only")
        self.units = self._with(alone)
        """With the effects of units alone."""
        self.scaled = self._with(self._to_the_whole(alone))
        """With these effects, of each format so that they add up to that of the whole."""

    def own(self, budget: float) -> Iterator[Proposed]:
        """The plans of least measured effect, by what is taken for a unit's: what it does alone;
        that, scaled to what all of its format do together; and the mean of what it does alone and
        what leaving it as it is saves, where that was measured. BitlensError where the budget is
        too small."""
        room = self.bits(budget)
        grounds = {ALONE: self.units, SCALED: self.scaled}
        if self.run.of("all but", self.measure, self.run.items(self.measure)[0]):
            grounds[BOTH] = self._with(
                self._mean(self._measured("only"), self._measured("all but"))
            )
        for name, units in grounds.items():
            choice = cheapest(units, room)
            yield self.proposed(name, choice, choice.effect)

    def bits(self, budget: float) -> int:
        """A budget of bits per weight as bits in all. BitlensError for one that is no size."""
        if not 0 < budget < MOST_BITS:
            raise InputError(
                f"The budget is {budget:g} bits per weight.",
                f"a number above 0 and below {MOST_BITS}.",
                "--budget 4.5",
            )
        return int(budget * self.weights)

    def rivals(self, budget: float, seed: int) -> Iterator[Proposed]:
        """What a plan is held against: the same format everywhere, plans of its size that were
        drawn, and those that other scores would have made."""
        room = self.bits(budget)
        for one in uniform(self.units, room):
            # To leave everything as it is is no compression.
            if one.format == KEEP:
                continue
            yield self.proposed(f"uniform {one.format}", one.choice, one.choice.effect)
        for number, choice in enumerate(random_plans(self.units, room, count=RANDOM, seed=seed)):
            yield self.proposed(f"random {number + 1}", choice, choice.effect)
        for proxy, of in self._scores().items():
            try:
                units = self._with(partial(_cost, proxy, of))
            except KeyError:
                # A unit without this score: what it would have planned is not known.
                continue
            yield self.proposed(f"by {proxy}", cheapest(units, room), None)

    def _scores(self) -> dict[str, dict[tuple[str, str], float]]:
        """By proxy, its scores; of one that goes by effects, the mean over the measure's items."""
        by_item = [scores(self.run, self.measure, i) for i in self.run.items(self.measure)]
        return {
            proxy: {
                key: float(np.mean([one[proxy][key] for one in by_item]))
                for key in of
                if all(key in one.get(proxy, {}) for one in by_item)
            }
            for proxy, of in by_item[0].items()
        }

    def proposed(self, name: str, choice: Choice, promised: float | None) -> Proposed:
        """A choice with its text."""
        formats = {
            matrix: choice.formats[unit.name] for unit in self._inside for matrix in unit.matrices
        }
        others = [u for u in self.run.units if u not in self._inside]
        formats |= {matrix: KEEP for unit in others for matrix in unit.matrices}
        text = format_spec(parse_spec(mixture(formats)))
        return Proposed(name=name, choice=choice, promised=promised, compression=text)

    def matrices(self) -> dict[str, tuple[str, ...]]:
        """By unit, of all units; those outside the blocks stay as they are."""
        return {unit.name: unit.matrices for unit in self.run.units}

    def weights_of(self, unit: str) -> int:
        """How many weights a unit has."""
        return next(u.parameters for u in self._inside if u.name == unit)

    def bits_of(self, unit: str, text: str) -> float:
        """Bits per weight of a unit in a format."""
        kept = float(self.run.about["model"]["bits"])
        return kept if text == KEEP else self._sizes[text][unit]

    def size(self, choice: Choice) -> float:
        """Bits per weight of a choice."""
        return choice.bits / self.weights

    def _with(self, effect: _Effect) -> list[PlanUnit]:
        """Every unit with all formats; kept, it takes what it does in the model."""
        kept = self.run.about["model"]["bits"]
        return [
            PlanUnit(
                unit.name,
                unit.parameters,
                (
                    *(
                        Option(text, round(of[unit.name] * unit.parameters), effect(text, unit))
                        for text, of in self._sizes.items()
                    ),
                    Option(KEEP, round(kept * unit.parameters), 0.0),
                ),
            )
            for unit in self._inside
        ]

    def _measured(self, way: Way) -> _Effect:
        """The mean effect over a measure's items."""
        by_item = [self.run.of(way, self.measure, i) for i in self.run.items(self.measure)]

        def effect(text: str, unit: Unit) -> float:
            values = [of[text, unit.name].value for of in by_item]
            known = [value for value in values if value is not None]
            if len(known) < len(values):
                reason = next(of[text, unit.name].reason for of in by_item)
                raise InputError(
                    f"{self.measure} of {unit.name} under {text} is not known: {reason}.",
                    "an effect of every unit.",
                    "--formats without it.",
                )
            return float(np.mean(known))

        return effect

    def _to_the_whole(self, alone: _Effect) -> _Effect:
        """Effects times what everything in the format does over their sum; as they are where one
        of these is nothing or helps. Formats whose parts do more together than alone, as coarse
        ones mostly do, are dearer by it than they look unit by unit."""
        factors = dict.fromkeys(self.formats, 1.0)
        for text in self.formats:
            of = [self.run.of("whole", self.measure, i) for i in self.run.items(self.measure)]
            wholes = [one[text, ""].value for one in of]
            parts = sum(alone(text, unit) for unit in self._inside)
            known = [whole for whole in wholes if whole is not None]
            if len(known) == len(wholes) and np.mean(known) > 0 and parts > 0:
                factors[text] = float(np.mean(known)) / parts
        return lambda text, unit: factors[text] * alone(text, unit)

    @staticmethod
    def _mean(one: _Effect, other: _Effect) -> _Effect:
        return lambda text, unit: (one(text, unit) + other(text, unit)) / 2


def _cost(proxy: str, of: Mapping[tuple[str, str], float], text: str, unit: Unit) -> float:
    """A score as an effect that adds: of decibels, the ratio they stand for."""
    value = of[text, unit.name]
    return float(10 ** (value / 10)) if proxy == SQNR else value


def _formats(run: Sensitivity, asked: Sequence[str]) -> list[str]:
    """The compressions of a run that a plan may use."""
    known = list(run.about["asked"]["compressions"])
    if not asked:
        return known
    found = []
    for text in asked:
        try:
            spec = format_spec(parse_spec(text))
        except BitlensError:
            spec = text
        if spec not in known:
            raise InputError(
                f"{run.root} has no effects of {text}.",
                f"some of {', '.join(known)}.",
                nearest(text, known) or f"--formats {known[0]}",
            )
        found.append(spec)
    return found
