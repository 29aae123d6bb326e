"""Units, their formats, and what one format for each comes to."""

import math

import pytest

from bitlens.errors import BitlensError
from bitlens.results.plans.units import Option, PlanUnit, chosen


def test_only_what_is_worth_its_size_is_on_the_frontier() -> None:
    """A larger format that is no better is left out, and of equal ones the first by name stays."""
    options = [("d", 8, 1.0), ("c", 6, 5.0), ("b", 4, 2.0), ("a", 4, 2.0), ("e", 9, 1.0)]
    unit = PlanUnit("mlp", 1, tuple(Option(*option) for option in options))
    assert [option.format for option in unit.frontier] == ["a", "d"]


def test_a_choice_is_its_sums() -> None:
    """400 + 1600 bits, 3 - 1; the units by name, whatever order they come in."""
    units = [
        PlanUnit("mlp", 200, (Option("8", 1600, -1.0),)),
        PlanUnit("attn", 100, (Option("4", 400, 3.0), Option("8", 800, 1.0))),
    ]
    choice = chosen(units, {"mlp": "8", "attn": "4"})
    assert (list(choice.formats), choice.bits, choice.effect) == (["attn", "mlp"], 2000, 2.0)


@pytest.mark.parametrize("effect", [math.nan, math.inf])
def test_an_effect_that_is_no_number_is_refused(effect: float) -> None:
    """With the unit and the format it is of."""
    with pytest.raises(BitlensError, match=r"effect of rtn:bits=4 on mlp is (nan|inf)"):
        PlanUnit("mlp", 1, (Option("rtn:bits=4", 4, effect),))


def test_a_unit_has_formats_each_once() -> None:
    """None, and one twice, are a caller's mistakes."""
    with pytest.raises(ValueError, match="each once"):
        PlanUnit("mlp", 1, ())
    with pytest.raises(ValueError, match="each once"):
        PlanUnit("mlp", 1, (Option("a", 4, 1.0), Option("a", 5, 1.0)))
