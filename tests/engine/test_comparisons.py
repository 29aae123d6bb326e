"""Which runs there are for what is asked: branches are shared, and cost only what they must."""

from dataclasses import replace

import pytest

from bitlens.analyses.features.analysis import Features
from bitlens.analyses.geometry import Geometry
from bitlens.engine.analysis import Branch, ReadRequest
from bitlens.engine.comparisons import comparisons, forward_runs
from bitlens.engine.interventions import Intervention, taken
from bitlens.engine.runs import REFERENCE, ForwardRun
from tests.support import tiny

RESIDS = [f"resid.{n}" for n in range(3)]


def asked(**sites: list[str]) -> list[ForwardRun]:
    """What runs for one twin of these analyses at these sites."""
    known = {"geometry": Geometry(), "features": Features((tiny.placed(tiny.sae()),))}
    reads = {
        name: [
            replace(request, sites=tuple(here))
            for request in known[name].reads(tiny.layout("llama"))
        ]
        for name, here in sites.items()
    }
    return forward_runs(comparisons([known[name] for name in sites], ["twin"], reads))


def test_features_read_the_branches_that_geometry_runs() -> None:
    """A block of the twin on the reference's input is run once, whoever reads it."""
    both = asked(geometry=RESIDS, features=["resid.1"])
    assert both == asked(geometry=RESIDS)
    assert len(both) == 2 + 3
    other_order = asked(features=["resid.1"], geometry=RESIDS)
    assert {run.name for run in other_order} == {run.name for run in both}


def test_alone_they_run_the_saes_own_block() -> None:
    """One block on the subset, once for two SAEs at its sites; the embedding has none."""
    name = "twin block 1 on the reference"
    branch = ForwardRun(name, "twin", parent=REFERENCE, start=1, stop=2, subset=True)
    whole = [ForwardRun(REFERENCE, REFERENCE), ForwardRun("twin", "twin")]
    assert asked(features=["resid.1", "mlp.1"]) == [*whole, branch]
    other = replace(branch, name="twin block 2 on the reference", start=2, stop=3)
    assert asked(features=["resid.1", "resid.2"]) == [*whole, branch, other]
    assert asked(features=["embed"]) == whole


def test_branches_are_for_analyses_that_reduce_them() -> None:
    """Another one that asks for them is told so before anything runs."""
    branch = Branch(
        "twin", "block 1 put back", (Intervention(site="resid.1", change=taken, source=REFERENCE),)
    )
    request = ReadRequest(sites=("resid.2",), branches=(branch,))
    with pytest.raises(TypeError, match="geometry asks for branches and is no BranchAnalysis"):
        comparisons([Geometry()], ["twin"], {"geometry": [request]})
