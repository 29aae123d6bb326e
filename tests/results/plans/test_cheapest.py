"""The choice with the least effect, against every choice there is."""

import math
import time
from itertools import product

import numpy as np
import pytest

from bitlens.errors import BitlensError
from bitlens.results.plans.cheapest import cheapest
from bitlens.results.plans.units import Option, PlanUnit

TWO = [
    PlanUnit("mlp", 200, (Option("4", 800, 4.0), Option("8", 1600, 1.0))),
    PlanUnit("attn", 100, (Option("4", 400, 3.0), Option("8", 800, 1.0))),
]


@pytest.mark.parametrize(
    ("budget", "attn", "mlp", "effect"),
    [
        (1200, "4", "4", 7.0),
        (1599, "4", "4", 7.0),
        (1600, "8", "4", 5.0),
        (1999, "8", "4", 5.0),
        (2000, "4", "8", 4.0),
        (2399, "4", "8", 4.0),
        (2400, "8", "8", 2.0),
        (9999, "8", "8", 2.0),
    ],
)
def test_two_units_by_hand(budget: int, attn: str, mlp: str, effect: float) -> None:
    """8 bits for the small unit gain 2 for 400 bits, for the large one 3 for 800: the budget
    decides, to the bit."""
    choice = cheapest(TWO, budget)
    assert choice.formats == {"attn": attn, "mlp": mlp}
    assert (choice.effect, choice.unproven) == (effect, 0)
    assert choice.bits == (400 if attn == "4" else 800) + (800 if mlp == "4" else 1600)


def random_units(random: np.random.Generator, scale: float) -> list[PlanUnit]:
    """Up to five units of up to four formats; effects are small whole numbers, so that many choices
    are equal, and some are below 0."""
    return [
        PlanUnit(
            f"unit {number}",
            1,
            tuple(
                Option(f"format {place}", int(random.integers(1, 9)) * 7, float(effect) * scale)
                for place, effect in enumerate(random.integers(-3, 6, random.integers(1, 5)))
            ),
        )
        for number in range(random.integers(1, 6))
    ]


@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e5])
def test_no_choice_is_better(scale: float) -> None:
    """All that fit are gone through, at effects far below the solver's tolerance too: none has less
    effect, and of equal ones none is smaller."""
    random = np.random.default_rng(5)
    for _ in range(40):
        units = random_units(random, scale)
        sizes = [[option.bits for option in unit.options] for unit in units]
        budget = int(random.integers(sum(map(min, sizes)), sum(map(max, sizes)) + 1))
        best = min(
            (round(math.fsum(o.effect for o in every) / scale), sum(o.bits for o in every))
            for every in product(*(unit.options for unit in units))
            if sum(option.bits for option in every) <= budget
        )
        choice = cheapest(units, budget)
        assert (round(choice.effect / scale), choice.bits) == best


def test_equal_units_are_raised_by_name() -> None:
    """Of 40 equal units there is room to raise seven: the first seven, in whatever order all are
    given."""
    options = (Option("4", 4, 3.0), Option("8", 8, 1.0))
    units = [PlanUnit(f"unit {number:02}", 1, options) for number in range(40)]
    np.random.default_rng(3).shuffle(units)
    formats = cheapest(units, 40 * 4 + 7 * 4).formats
    assert [name for name, one in formats.items() if one == "8"] == [f"unit 0{n}" for n in range(7)]


def test_what_makes_no_difference_is_small() -> None:
    """Effects that are all 0 choose the smallest formats."""
    units = [PlanUnit(name, 1, (Option("8", 8, 0.0), Option("4", 4, 0.0))) for name in "ab"]
    assert cheapest(units, 16).formats == {"a": "4", "b": "4"}


@pytest.mark.parametrize("seed", range(4))
def test_a_budget_is_held_to_the_bit(seed: int) -> None:
    """Seven units of billions of bits whose sizes share no divisor, where the solver's tolerance is
    thousands of bits: what is one bit too large is not chosen, and nothing that fits is better."""
    random = np.random.default_rng(seed)
    units = []
    for name in "abcdefg":
        weights = int(random.integers(10**8, 10**10))
        effects = 4.0 ** -np.arange(3, 7) * np.exp(random.normal())
        options = (Option(str(r), r * weights + 1, float(e)) for r, e in enumerate(effects, 3))
        units.append(PlanUnit(name, weights, tuple(options)))
    most = int(4.5 * sum(unit.weights for unit in units))
    budget = cheapest(units, most).bits - 1
    choice = cheapest(units, budget)
    sizes, effects = (
        sum(np.ix_(*[[getattr(o, of) for o in unit.options] for unit in units]), start=np.zeros(()))
        for of in ("bits", "effect")
    )
    assert choice.bits <= budget
    assert choice.effect == pytest.approx(effects[sizes <= budget].min(), rel=1e-6)


def test_a_budget_below_the_smallest_is_refused() -> None:
    """With the smallest that can be asked for, which then works: 1000 / 300 is 3.3333 bits."""
    units = [PlanUnit("a", 300, (Option("3", 1000, 1.0), Option("4", 1300, 0.5)))]
    with pytest.raises(BitlensError) as refused:
        cheapest(units, 999)
    assert refused.value.found == (
        "The budget is 3.33 bits per weight, 999 bits in all; the smallest formats that are offered"
        " take 3.334, 1,000 in all."
    )
    assert refused.value.remedy.startswith("--budget 3.334,")
    assert cheapest(units, int(3.334 * 300)).bits == 1000


def large(random: np.random.Generator, count: int) -> list[PlanUnit]:
    """Units of three shapes, with six formats each."""
    units = []
    for number in range(count):
        weights = 896 * int(random.choice([128, 896, 4864]))
        rates = np.array([2.25, 3.25, 4.25, 5.25, 6.25, 8.5])
        effects = 4.0**-rates * np.exp(3 * random.normal() + 0.3 * random.normal(size=6))
        pairs = zip(rates, effects, strict=True)
        options = (Option(str(r), int(r * weights), float(e)) for r, e in pairs)
        units.append(PlanUnit(f"unit {number:03}", weights, tuple(options)))
    return units


@pytest.mark.slow
def test_a_large_model_takes_seconds(capfd: pytest.CaptureFixture[str]) -> None:
    """336 units of six formats: below 15 seconds of a processor, proven, within the budget, better
    than any greedy choice that a linear program allows, and without a word of the solver's."""
    units = large(np.random.default_rng(5), 336)
    budget = int(4.5 * sum(unit.weights for unit in units))
    begun = time.process_time()
    choice = cheapest(units, budget)
    assert time.process_time() - begun < 15
    assert choice.unproven == 0
    assert choice.bits <= budget
    assert choice.effect <= greedy(units, budget)
    assert capfd.readouterr().out == ""


def greedy(units: list[PlanUnit], budget: int) -> float:
    """The usual heuristic: from the smallest on, the step that gains most for its bits and fits."""
    place = dict.fromkeys(range(len(units)), 0)
    bits = sum(unit.frontier[0].bits for unit in units)
    while True:
        steps = []
        for number, at in place.items():
            now, *larger = units[number].frontier[at:]
            steps += [
                ((now.effect - o.effect) / (o.bits - now.bits), number, at + k, o.bits - now.bits)
                for k, o in enumerate(larger, 1)
                if bits + o.bits - now.bits <= budget
            ]
        if not steps:
            return math.fsum(
                unit.frontier[at].effect for unit, at in zip(units, place.values(), strict=True)
            )
        _, number, at, more = max(steps)
        place[number], bits = at, bits + more


def test_without_time_there_is_no_plan() -> None:
    """What was tried, and what makes it smaller."""
    units = large(np.random.default_rng(0), 60)
    with pytest.raises(BitlensError, match="No plan of 60 units and 360 formats") as refused:
        cheapest(units, int(4.5 * sum(unit.weights for unit in units)), seconds=0.0)
    assert "--unit block" in refused.value.remedy
