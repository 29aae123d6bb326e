"""The forks of a sensitivity run."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from bitlens.analyses.behaviour import Behaviour
from bitlens.analyses.features.analysis import Features
from bitlens.compression import parse_spec
from bitlens.compression.twin import CompressedTwin
from bitlens.engine.analysis import Analysis
from bitlens.engine.runs import REFERENCE
from bitlens.workflows.audit.selection import Selection
from bitlens.workflows.sensitivity.forks import Forks, comparisons_of
from bitlens.workflows.sensitivity.units import units_of
from tests.support import tiny

TEXT = "rtn:bits=4"


@pytest.mark.parametrize("way", ["only", "all but"])
def test_a_block_is_taken_from_the_other_model(way: str) -> None:
    """Alone, it is the twin's in a run of the reference; left out, the reference's in a run of the
    twin. What stands before it is the run it branches off from."""
    layout = tiny.layout("llama")
    twin = CompressedTwin(layout, parse_spec(TEXT), [name for name, _ in layout.matrices()])
    forks = Forks(layout, {TEXT: twin}, units_of(layout, "block")).all
    own, others = (TEXT, REFERENCE) if way == "only" else (REFERENCE, TEXT)
    of_way = [
        fork for fork in forks if fork.way == way and fork.unit and fork.unit.block is not None
    ]
    assert [fork.run.start for fork in of_way] == [0, 1, 2]
    for fork in of_way:
        assert fork.run.parent == others
        models = [fork.run.model_at(depth) for depth in range(fork.run.start, layout.depth)]
        assert models == [own, *[others] * (len(models) - 1)]


SAE = tiny.placed(tiny.sae())
KEEPING = (
    Behaviour(positions=1000),
    Features((replace(SAE, fit=replace(SAE.fit, l0=2.0)),), positions=1000),
)


@pytest.mark.parametrize("keeping", KEEPING, ids=lambda analysis: analysis.name)
def test_nothing_of_a_fork_is_kept_to_be_shown(keeping: Analysis) -> None:
    """An audit keeps predictions and codes of every twin for its page; at those of forks nobody
    looks."""
    layout = tiny.layout("llama")
    twin = CompressedTwin(layout, parse_spec(TEXT), [name for name, _ in layout.matrices()])
    forks = Forks(layout, {TEXT: twin}, units_of(layout, "block")).all
    assert keeping.kept_bytes
    selection = SimpleNamespace(
        analyses=(keeping,), own={}, reads={keeping.name: keeping.reads(layout)}
    )
    found = comparisons_of(forks, cast(Selection, selection))
    assert found
    assert {comparison.twin for comparison in found} <= {fork.name for fork in forks}
    assert not any(comparison.analysis.kept_bytes for comparison in found)
