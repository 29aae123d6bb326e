"""What a plan is held against: of its size, and chosen without its knowledge."""

import numpy as np
import pytest

from bitlens.errors import BitlensError
from bitlens.results.plans.rivals import NEAR, random_plans, uniform
from bitlens.results.plans.units import Option, PlanUnit

RATES = {"rtn:bits=3": 3, "rtn:bits=4": 4, "nf4": 4, "rtn:bits=8": 8}


def units(count: int) -> list[PlanUnit]:
    """Units of 10 or 30 weights; nf4 is the better of the two formats of four bits."""
    return [
        PlanUnit(
            f"unit {number}",
            weights,
            tuple(
                Option(one, rate * weights, 1 / rate - 0.01 * (one == "nf4"))
                for one, rate in RATES.items()
            ),
        )
        for number in range(count)
        for weights in [10 + 20 * (number % 2)]
    ]


def test_the_uniform_plan_of_the_same_size() -> None:
    """4.02 bits are within one in a hundred of four; of two formats of four the better stands."""
    (one,) = uniform(units(4), int(4.02 * 80))
    assert (one.format, one.size, one.choice.bits) == ("nf4", "same", 320)
    assert one.choice.effect == pytest.approx(4 * 0.24)


def test_the_uniform_plans_around_a_size_that_none_has() -> None:
    """At five bits: four below, eight above."""
    found = [(one.format, one.size) for one in uniform(units(4), 5 * 80)]
    assert found == [("nf4", "smaller"), ("rtn:bits=8", "larger")]
    assert [one.format for one in uniform(units(4), 9 * 80)] == ["rtn:bits=8"]
    assert [one.format for one in uniform(units(4), 2 * 80)] == ["rtn:bits=3"]


def test_what_is_fixed_does_not_hinder_a_uniform_plan() -> None:
    """An embedding with one option keeps it; units that share no format have no uniform plan."""
    fixed = PlanUnit("embedding", 10, (Option("nothing", 160, 0.0),))
    (one,) = uniform([*units(2), fixed], 4 * 40 + 160)
    assert one.choice.formats == {"embedding": "nothing", "unit 0": "nf4", "unit 1": "nf4"}
    other = PlanUnit("head", 10, (Option("q2", 20, 1.0), Option("q6", 60, 0.0)))
    assert uniform([*units(2), other], 160) == ()
    assert uniform([fixed], 160) == ()


def test_random_plans_are_of_the_size_and_no_two_are_one() -> None:
    """Three at 4.5 bits, each within the budget and one in a hundred of it; the same ones whatever
    order the units come in, others with another seed."""
    many, budget = units(100), int(4.5 * 2000)
    plans = random_plans(many, budget, count=3, seed=7)
    assert len({tuple(plan.formats.items()) for plan in plans}) == 3
    assert all((1 - NEAR) * budget <= plan.bits <= budget for plan in plans)
    assert random_plans(many[::-1], budget, count=3, seed=7) == plans
    assert random_plans(many, budget, count=3, seed=8) != plans


def test_random_plans_know_nothing_of_effects() -> None:
    """The same plans where every effect is another; and every format comes up, the two of one size
    equally often (500 draws each: within 4 standard deviations)."""
    many = units(100)
    turned = [
        PlanUnit(u.name, u.weights, tuple(Option(o.format, o.bits, -o.effect) for o in u.options))
        for u in many
    ]
    plans = random_plans(many, 9000, count=10, seed=0)
    assert [plan.formats for plan in plans] == [
        plan.formats for plan in random_plans(turned, 9000, count=10, seed=0)
    ]
    drawn = np.concatenate([list(plan.formats.values()) for plan in plans])
    four = [np.sum(drawn == one) for one in ("rtn:bits=4", "nf4")]
    assert set(drawn) == set(RATES)
    assert abs(four[0] - four[1]) < 4 * np.sqrt(sum(four))


def test_of_few_units_there_may_be_no_random_plan() -> None:
    """Two units come to 120, 150, 160, ... bits: none is within one in a hundred of 145, and below
    the smallest nothing fits."""
    assert random_plans(units(2), 145, count=3, seed=0) == []
    with pytest.raises(BitlensError, match=r"The budget is 2\.975 bits per weight"):
        random_plans(units(2), 119, count=3, seed=0)
