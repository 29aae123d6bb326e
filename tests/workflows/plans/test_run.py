"""A plan: chosen, audited, held against others, and improved."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitlens.config.format_plan import as_mixed, read_plan
from bitlens.config.study import audit_of
from bitlens.errors import BitlensError
from bitlens.results.plans.measured import ALONE, BOTH, PLAN, SCALED
from bitlens.results.sensitivity.folder import Sensitivity, read_run, write_run
from bitlens.results.store import Store
from bitlens.workflows.audit.run import run as audit
from bitlens.workflows.plans.run import PlanRequest, plan
from bitlens.workflows.sensitivity.run import Request, run
from tests.support.sensitivities import sensitivity as made_up

FORMATS = ("rtn:bits=2,group=16", "rtn:bits=3,group=16", "rtn:bits=4,group=16")
TOKENS = 1500


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def sensitivity(
    llama: Path, short_texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Sensitivity:
    """Three formats for every kernel of a tiny model."""
    study = audit_of(str(llama), FORMATS, text=str(short_texts), tokens=TOKENS, controls=())
    out = tmp_path_factory.mktemp("sensitive") / "run"
    return run(study, Request(division="kind", both=False), out, "command", silent)


@pytest.mark.slow
def test_a_plan_is_what_its_audit_says(
    sensitivity: Sensitivity, llama: Path, short_texts: Path, tmp_path: Path
) -> None:
    """It keeps to its budget, its number is that of an audit of its text, it does not lose against
    what it was held against, and the file it is written to says the same."""
    request = PlanRequest(budget=4.0)
    heard: list[str] = []
    found = plan(sensitivity.root, request, tmp_path / "plan.yaml", "command", heard.append)
    first, *others = found["candidates"]
    assert first["name"] == PLAN
    assert first["bits"] <= 4.0
    written = read_plan(tmp_path / "plan.yaml")
    assert as_mixed(written) == first["compression"]
    asked = audit_of(
        str(llama),
        (first["compression"],),
        text=str(short_texts),
        tokens=TOKENS,
        controls=(),
        analyses=("behaviour",),
    )
    store: Store = audit(asked, tmp_path / "audit", "command", silent)
    (cell,) = store.manifest()["cells"]
    (kl,) = [v for v in store.read_cell(cell["id"])[1] if v.metric == "kl"]
    assert first["measured"]["value"] == kl.value
    names = [one["name"] for one in others]
    assert {"uniform rtn:bits=3,group=16", "random 1", "by sqnr", "by linear model"} <= set(names)
    for one in others:
        if one["name"].startswith(("uniform", "random")):
            assert one["more"]["value"] >= 0, one
    assert found["notes"]
    tools = {one["tool"]: one for one in found["fragments"]}
    assert len(tools) == 6
    pasted = sensitivity.root / "plans" / request.name / "fragments"
    for one in tools.values():
        assert (pasted / one["tool"] / one["file"]).read_text() == one["text"]
    # Again: everything is known, and nothing is swept.
    again = plan(sensitivity.root, request, None, "command", heard.append)
    assert again == found
    assert heard[-1].endswith("nothing to compute.")


@pytest.mark.slow
def test_a_swap_is_taken_only_where_it_surely_wins(
    sensitivity: Sensitivity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan that begins as bad as can be is improved, and every swap that was taken is below
    nothing with its whole interval."""
    from bitlens.workflows.plans.candidates import Candidates

    rivals = Candidates.rivals

    def worst(self: Candidates, budget: float) -> Any:
        found = [one for one in rivals(self, budget, 0) if one.name.startswith("random")]
        bad = max(found, key=lambda one: one.choice.effect)
        return [replace(bad, name=ALONE)]

    monkeypatch.setattr(Candidates, "own", worst)
    monkeypatch.setattr(Candidates, "rivals", lambda *_: [])
    monkeypatch.setattr("bitlens.workflows.plans.run.ROUNDS", 1)
    found = plan(sensitivity.root, PlanRequest(budget=3.9), None, "command", silent)
    taken = [swap for swap in found["swaps"] if swap["taken"]]
    assert len(taken) == 1
    assert taken[0]["more"]["high"] < 0
    before = next(o for o in found["candidates"] if o["name"] == ALONE)
    assert before["more"]["low"] > 0


@pytest.mark.slow
def test_the_plan_is_whichever_does_least(
    sensitivity: Sensitivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the effects lead to a bad plan, a rival's that does less is taken, and it is said whose
    it is; no plan that fits and was audited does less."""
    from bitlens.workflows.plans.candidates import Candidates

    def misled(self: Candidates, budget: float) -> Any:
        (bad,) = [one for one in self.rivals(budget, 0) if one.name == "random 1"]
        return [replace(bad, name=ALONE)]

    monkeypatch.setattr(Candidates, "own", misled)
    monkeypatch.setattr("bitlens.workflows.plans.run.ROUNDS", 0)
    found = plan(sensitivity.root, PlanRequest(budget=4.0), None, "command", silent)
    first, *others = found["candidates"]
    assert found["start"] not in (ALONE, "random 1")
    fitting = [one for one in others if one["bits"] <= 4.0]
    assert first["measured"]["value"] == min(one["measured"]["value"] for one in fitting)
    assert next(o for o in others if o["name"] == found["start"])["more"]["value"] == 0


def test_effects_are_scaled_to_what_the_whole_does(tmp_path: Path) -> None:
    """By hand: alone 0.4 + 0.3 + 0.2 + 0.1 = 1, and everything does 1.2."""
    from bitlens.workflows.plans.candidates import Candidates

    write_run(made_up(tmp_path))
    found = Candidates(read_run(tmp_path), "kl", ())
    effects = [unit.by_format["rtn:bits=3"].effect for unit in found.scaled]
    assert effects == pytest.approx([0.48, 0.36, 0.24, 0.12])
    # Alone and left out: 0.4 and 0.5, 0.3 and 0.4, ...; of 3 bits a quarter of each at 4.
    names = [one.name for one in found.own(3.5)]
    assert names == [ALONE, SCALED, BOTH]
    (_, _, both) = found.own(3.5)
    assert both.promised == pytest.approx(0.45 + 0.35 + 0.25 + 0.15)


def test_a_plan_asks_what_its_run_asked(tmp_path: Path) -> None:
    """Another benchmark and another number of questions are refused before anything is loaded; of
    units that left early the plan speaks."""
    from bitlens.workflows.plans.run import _of_units_that_left

    made = made_up(tmp_path)
    study = audit_of("demo", "rtn:bits=3", benchmarks=("a=x.jsonl",), limit=5)
    left = [{"compression": "rtn:bits=3", "unit": "block 3"}]
    about = made.about | {
        "settings": study.to_dict(),
        "asked": made.about["asked"] | {"measures": ["benchmark"], "top": 3},
        "stages": [{"documents": 20, "passes": 1.0, "left": left}],
    }
    effects = [replace(e, measure="benchmark") for e in made.effects]
    write_run(replace(made, about=about, effects=effects))
    for benchmarks, limit, told in (
        (("b=x.jsonl",), 5, r"asks b \(--limit 5\), and .* asked a \(--limit 5\)"),
        (("a=x.jsonl",), None, r"asks a \(--limit none\), and .* asked a \(--limit 5\)"),
    ):
        asked = PlanRequest(budget=3.5, protect="benchmark", benchmarks=benchmarks, limit=limit)
        with pytest.raises(BitlensError, match=told):
            plan(tmp_path, asked, None, "command", silent)
    assert _of_units_that_left(made) == []
    (note,) = _of_units_that_left(read_run(tmp_path))
    assert note.startswith("1 effect of units that left early")


@pytest.mark.slow
def test_what_cannot_be_planned_is_refused(sensitivity: Sensitivity) -> None:
    """A measure that was not measured, a format without effects, and a budget that nothing fits."""
    for request, told in (
        (PlanRequest(budget=4.0, protect="heads"), "did not measure heads"),
        (PlanRequest(budget=4.0, formats=("rtn:bits=5",)), "no effects of rtn:bits=5"),
        (PlanRequest(budget=1.0), "at least"),
        (PlanRequest(budget=4.0, benchmarks=("a=b",)), "one is given"),
    ):
        with pytest.raises(BitlensError, match=told):
            plan(sensitivity.root, request, None, "command", silent)
    assert read_run(sensitivity.root).about == sensitivity.about | {"schema": 2}
