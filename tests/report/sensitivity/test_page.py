"""The page of a sensitivity run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitlens.report.build import build
from bitlens.report.page.html import html
from bitlens.report.page.parts import Figure, Section, Tabs
from bitlens.report.sensitivity.page import page
from bitlens.report.sensitivity.plans import finding, sentence
from bitlens.results.plans.measured import write_measured
from bitlens.results.sensitivity.folder import write_run
from tests.support.sensitivities import effect, planned, sensitivity

HOSTILE = "block <img src=x onerror=alert(1)>\u202e"


def named(sections: tuple[Section, ...], anchor: str) -> Section:
    return next(section for section in sections if section.anchor == anchor)


def test_it_says_which_layer_matters_and_what_keeping_it_costs() -> None:
    """Block 0 alone does 0.4 of 1.2; left as it is, a quarter of the weights takes 32 bits and not
    3.5, which is 7.12 bits a weight more, and 0.5 of 1.2 goes away."""
    found = named(page(sensitivity(), []).sections, "layers").found
    assert found is not None
    assert found.text == "Block 0 matters most of the blocks' units under rtn:bits=3"
    assert found.numbers == (
        "Alone block 0 costs kl 0.40 nats [0.20, 0.60]; everything together 1.20 nats "
        "[0.60, 1.80]. "
        "Keeping it as it is costs 7.12 bits a weight over the blocks and brings back "
        "41.7 % of that."
    )


def test_units_are_drawn_from_the_worst() -> None:
    """A chart a compression and measure, a row a unit, both ways."""
    layers = named(page(sensitivity(), []).sections, "layers")
    (tabs,) = [part for part in layers.parts if isinstance(part, Tabs)]
    ((title, (chart,)), *others) = tabs.tabs
    assert title == "rtn:bits=3"
    assert len(others) == 1
    assert isinstance(chart, Figure)
    points = [p for p in chart.strips[0].panels[0].points if p["is"] == "bar"]
    assert [p["row"] for p in points] == [f"block {n}" for n in (0, 0, 1, 1, 2, 2, 3, 3)]
    assert [p["value"] for p in points[:2]] == [0.4, 0.5]


def test_without_a_plan_it_says_how_to_make_one() -> None:
    """And with one, whether that was worth it."""
    assert named(page(sensitivity(Path("run")), []).sections, "plan").title == "What to do"
    found = named(page(sensitivity(), [planned()]).sections, "plan-kl-4-5").found
    assert found is not None
    assert found.text == "The plan surely changes kl less than one format everywhere"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.05, 0.15, "surely does more: 0.100 nats [0.050, 0.150]."),
        (-0.05, 0.15, "does not surely do more or less: 0.10 nats [−0.05, 0.15]."),
        (None, None, "does more is not known: few."),
    ],
)
def test_a_plan_is_better_only_where_the_interval_says_so(
    low: float | None, high: float | None, said: str
) -> None:
    """The uniform format of the size is called worse only with its whole interval above nothing."""
    plan = planned()
    more: dict[str, Any] = {"value": 0.1, "low": low, "high": high, "documents": 30}
    plan["candidates"][2]["more"] = {**more, "reason": None if low is not None else "few"}
    assert said in sentence(plan)
    assert ("surely changes" in finding(plan)) == (low is not None and low > 0)
    assert "The best plan that another score makes, sqnr, is the same plan." in sentence(plan)


def test_it_says_which_plan_was_taken_and_whether_effects_add() -> None:
    """By sqnr, which does 0.2; that of the effects alone does 0.05 more, 0.25, where 0.19 were
    promised."""
    said = sentence(planned())
    assert (
        "It is the one by sqnr, which did least of all that fit; the one by effects alone does "
        "surely more: 0.0500 nats [0.0450, 0.0550]." in said
    )
    assert (
        "Effects do not add here: those of the units alone come to 0.190 nats, together they are "
        "0.250 nats [0.225, 0.275]." in said
    )
    swap = planned()["swaps"][0] | {"taken": True}
    assert "It is improved from the one by sqnr" in sentence(planned(swaps=[swap]))
    plain = sentence(planned(start="effects alone"))
    assert "did least" not in plain
    same = planned()["candidates"]
    same[2]["compression"] = same[0]["compression"]
    assert finding(planned(candidates=same)).startswith("No plan that was tried")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """A unit is called as a module of somebody's model is."""
    run = sensitivity(tmp_path)
    units = [replace(unit, name=HOSTILE) for unit in run.units[:1]]
    effects = [effect("", 1.0, "whole"), effect(HOSTILE, 0.4)]
    about = run.about | {"asked": run.about["asked"] | {"compressions": ["rtn:bits=3"]}}
    write_run(replace(run, about=about, units=units, effects=effects, sizes=[], proxies=[]))
    write_measured(
        tmp_path / "plans" / "kl-4.5",
        {name: of for name, of in planned().items() if name != "schema"},
    )
    text = build(tmp_path).read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert "\u202e" not in text
    assert "⟨U+202E⟩" in text
    assert html(page(run, []))
