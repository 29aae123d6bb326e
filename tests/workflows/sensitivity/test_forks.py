"""The forks of a sensitivity run."""

import pytest

from bitlens.compression import parse_spec
from bitlens.compression.twin import CompressedTwin
from bitlens.engine.runs import REFERENCE
from bitlens.workflows.sensitivity.forks import Forks
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
