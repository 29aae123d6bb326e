"""Which numbers a rule is on."""

import pytest

from bitlens.results.gating.rule import matches
from tests.support.gate_stores import NOISE, RTN, rule


@pytest.mark.parametrize(
    ("pattern", "name", "named"),
    [
        ("behaviour.*", "behaviour.kl", True),
        ("behaviour.?l", "behaviour.kl", True),
        ("behaviourxkl", "behaviour.kl", False),
        ("behaviour.k", "behaviour.kl", False),
        ("noise:like=[rtn:bits=?]", NOISE, True),
        ("[r]tn:bits=4", RTN, False),
        ("*", "two\nlines", True),
        ("*", "", True),
        ("", "", True),
        ("a*b*c", "abbc", True),
        ("a*b*c", "acb", False),
        ("*b*b", "b", False),
        ("*ab", "aab", True),
        ("*a?*a", "aaa", True),
        ("**a**", "a", True),
        ("*a" * 40 + "b", "a" * 500, False),
    ],
)
def test_stars_and_question_marks_are_all_there_is(pattern: str, name: str, named: bool) -> None:
    """Brackets, which stand in the names of compressions, are themselves; the whole name counts,
    and many stars take no longer than one."""
    assert matches(pattern, name) is named


def test_a_control_is_meant_by_its_method_alone() -> None:
    """No rule on all twins, nor on all of 4 bits, is on the noise of that size."""
    assert rule(1).is_on_twin(RTN, control=False)
    assert not rule(1).is_on_twin(NOISE, control=True)
    assert not rule(1, twin="*bits=4*").is_on_twin(NOISE, control=True)
    assert rule(1, twin="*bits=4*").is_on_twin(RTN, control=False)
    assert rule(1, twin="noise:*").is_on_twin(NOISE, control=True)


def test_a_rule_says_what_it_is_on() -> None:
    """What it leaves to all is left out."""
    assert rule(1).named == "behaviour.kl"
    named = rule(1, twin="rtn:*", site="resid.2", item="local", against="noise").named
    assert named == "behaviour.kl of rtn:* at resid.2 (local) minus noise"
