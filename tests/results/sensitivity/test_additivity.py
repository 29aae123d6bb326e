"""How far effects add."""

from dataclasses import replace

import pytest

from bitlens.results.sensitivity.additivity import additivity, share
from bitlens.results.sensitivity.records import Effect
from tests.support.sensitivities import effect, sensitivity


def test_the_parts_over_the_whole() -> None:
    """0.4 + 0.3 + 0.2 + 0.1 is five sixths of 1.2; 0.5 + 0.4 + 0.3 + 0.2 is seven sixths."""
    found = {a.way: a for a in additivity(sensitivity()) if a.compression == "rtn:bits=3"}
    assert found["only"].parts == pytest.approx(1.0)
    assert found["only"].value == pytest.approx(1 / 1.2)
    assert found["all but"].value == pytest.approx(1.4 / 1.2)
    # Numerator and denominator move together from shard to shard: the ratio is sure.
    assert found["only"].low == pytest.approx(1 / 1.2)


def test_a_whole_without_effect_has_no_ratio() -> None:
    """There is a reason in its place."""
    run = sensitivity()
    effects = [effect("", 0.0, "whole"), effect("block 0", 0.0)]
    (only,) = additivity(sensitivity(effects=effects, units=run.units))
    assert only.value is None
    assert only.reason == "the whole changes nothing"


def test_a_unit_without_a_number_leaves_no_sum() -> None:
    """A sum that lacks one is not told."""
    effects = [effect("", 1.0, "whole"), effect("block 0", 0.2), effect("block 1", None)]
    assert additivity(sensitivity(effects=effects)) == []


def test_an_embedding_is_no_part_of_the_sum() -> None:
    """No whole compression holds it: with it the parts would be more than there is."""
    plain = sensitivity()
    embedding = replace(plain.units[0], name="embedding", kind="embedding", block=None)
    run = sensitivity(
        units=[embedding, *plain.units], effects=[*plain.effects, effect("embedding", 5.0)]
    )
    assert additivity(run) == additivity(plain)


def test_intervals_go_by_how_replicates_were_made() -> None:
    """Bootstrap draws are percentiles of, not multiplied as a jackknife's are."""
    run = sensitivity()
    about = run.about | {"settings": {"interval": "bootstrap"}}
    jackknife, bootstrap = (
        next(a for a in additivity(r) if a.compression == "rtn:bits=3" and a.way == "only")
        for r in (
            sensitivity(effects=wobbling()),
            sensitivity(effects=wobbling(), about=about),
        )
    )
    assert jackknife.value == bootstrap.value
    assert jackknife.low is not None
    assert bootstrap.low is not None
    assert bootstrap.low > jackknife.low


def wobbling() -> list[Effect]:
    """One unit whose share of the whole differs from replicate to replicate."""
    only = replace(effect("block 0", 0.5), replicates=(0.4, 0.5, 0.6))
    return [replace(effect("", 1.0, "whole"), replicates=(1.0, 1.0, 1.0)), only]


def test_a_share_is_of_a_whole_that_does_damage() -> None:
    """0.5 of 1 is a half, with the interval of the paired ratio; of a whole that helps there is no
    share."""
    whole, only = wobbling()
    half = share(only, whole, "jackknife")
    assert half.value == 0.5
    assert half.low is not None
    assert share(only, replace(whole, value=-1.0), "jackknife").value is None
