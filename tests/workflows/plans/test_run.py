"""A plan: chosen, audited, held against others, and improved."""

from pathlib import Path
from typing import Any

import pytest

from bitlens.config.format_plan import as_mixed, read_plan
from bitlens.config.study import audit_of
from bitlens.errors import BitlensError
from bitlens.results.plans.measured import PLAN
from bitlens.results.sensitivity.folder import Sensitivity, read_run
from bitlens.results.store import Store
from bitlens.workflows.audit.run import run as audit
from bitlens.workflows.plans.run import PlanRequest, plan
from bitlens.workflows.sensitivity.run import Request, run

FORMATS = ("rtn:bits=2,group=16", "rtn:bits=3,group=16", "rtn:bits=4,group=16")


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def sensitivity(
    llama: Path, short_texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Sensitivity:
    """Three formats for every kernel of a tiny model."""
    study = audit_of(str(llama), FORMATS, text=str(short_texts), tokens=4000, controls=())
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
        tokens=4000,
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

    def worst(self: Candidates, budget: float) -> Any:
        return max(
            (one.choice for one in self.rivals(budget, 0) if one.name.startswith("random")),
            key=lambda choice: choice.effect,
        )

    monkeypatch.setattr(Candidates, "plan", worst)
    monkeypatch.setattr("bitlens.workflows.plans.run.ROUNDS", 1)
    found = plan(sensitivity.root, PlanRequest(budget=3.9), None, "command", silent)
    taken = [swap for swap in found["swaps"] if swap["taken"]]
    assert len(taken) == 1
    assert taken[0]["more"]["high"] < 0
    before = next(o for o in found["candidates"] if o["name"] == f"{PLAN} before swaps")
    assert before["more"]["low"] > 0


@pytest.mark.slow
def test_what_cannot_be_planned_is_refused(sensitivity: Sensitivity) -> None:
    """A measure that was not measured, a format without effects, and a budget that nothing fits."""
    for request, told in (
        (PlanRequest(budget=4.0, protect="heads"), "did not measure heads"),
        (PlanRequest(budget=4.0, formats=("rtn:bits=5",)), "no effects of rtn:bits=5"),
        (PlanRequest(budget=1.0), "at least"),
    ):
        with pytest.raises(BitlensError, match=told):
            plan(sensitivity.root, request, None, "command", silent)
    assert read_run(sensitivity.root).about == sensitivity.about | {"schema": 2}
