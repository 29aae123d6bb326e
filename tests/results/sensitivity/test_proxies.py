"""How well other scores order the units."""

from dataclasses import replace

import pytest
from scipy.stats import spearmanr

from bitlens.results.sensitivity.proxies import LINEAR, agreements, linear_model, scores
from bitlens.results.sensitivity.records import SQNR, ProxyScore
from tests.support.sensitivities import effect, sensitivity


def scored(*values: float) -> list[ProxyScore]:
    return [
        ProxyScore(proxy="trace", compression="rtn:bits=3", unit=f"block {n}", value=value)
        for n, value in enumerate(values)
    ]


def test_ranks_agree_as_spearman_says() -> None:
    """The oracle is scipy's."""
    proxies = scored(5.0, 9.0, 2.0, 3.0)
    found = {a.proxy: a for a in agreements(sensitivity(proxies=proxies))}["trace"]
    assert found.value == pytest.approx(spearmanr([0.4, 0.3, 0.2, 0.1], [5, 9, 2, 3]).statistic)
    assert found.units == 4


def test_equal_scores_order_nothing() -> None:
    """A proxy that is the same for all has no rank correlation, and says why."""
    found = [a for a in agreements(sensitivity()) if a.proxy == SQNR]
    assert {a.value for a in found} == {None}
    assert {a.reason for a in found} == {"every unit has the same score"}


def test_few_units_say_nothing() -> None:
    """Three ranks are no correlation."""
    run = sensitivity()
    effects = [e for e in run.effects if e.unit != "block 3"]
    found = next(iter(agreements(replace(run, effects=effects, proxies=scored(1, 2, 3)))))
    assert found.value is None
    assert found.reason == "ranks of 3 units say nothing: it takes 4"


def test_the_linear_model_scales_another_compression() -> None:
    """At 4 bits block 0 does 0.1 with an error of -20 dB; at -10 dB, ten times the squared error,
    the linear model says 1."""
    run = sensitivity()
    linear = linear_model(run, "kl")
    assert linear["rtn:bits=3", "block 0"] == pytest.approx(1.0)
    assert linear["rtn:bits=4", "block 0"] == pytest.approx(0.04)
    assert LINEAR in scores(run, "kl")


def test_the_linear_model_needs_another_compression() -> None:
    """One alone would be compared with itself."""
    run = sensitivity()
    asked = run.about["asked"] | {"compressions": ["rtn:bits=3"]}
    alone = replace(run, about=run.about | {"asked": asked}, effects=[effect("block 0", 0.4)])
    assert linear_model(alone, "kl") == {}
