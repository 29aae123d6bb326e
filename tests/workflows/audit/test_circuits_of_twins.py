"""What is said of tasks beside several twins, on the model that was built by hand."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import torch

from bitlens.analyses.causal.analysis import Causal
from bitlens.compression.compression import CompressedMatrix, DataFree
from bitlens.models.matrices import LinearMap
from bitlens.workflows.audit.circuits import circuits
from tests.support import circuits as support
from tests.support import planted_models as planted
from tests.support import tiny


@dataclass(frozen=True)
class Beyond(DataFree):
    """Values that no sum of float32 holds."""

    name: ClassVar[str] = "beyond"

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        return CompressedMatrix(torch.full_like(matrix.weight.float(), 3e38), 32.0)


def test_a_twin_that_overflows_leaves_the_task_to_the_others() -> None:
    """Its own number has the reason; the table of tasks says of the reference, which does it, and
    has no reason beside any twin."""
    layout = planted.copier()
    session: Any = SimpleNamespace(
        layout=layout,
        study=SimpleNamespace(interval="jackknife"),
        seed=0,
        log=lambda _: None,
    )
    twins = {"broken": tiny.twin(layout, Beyond()), "same": tiny.twin(layout, None)}
    found = circuits(session, Causal(tasks=(support.repeats(),)), twins, (), support.ROOM)
    assert "overflow" in str(found.values["broken"][0].reason)
    for tables in found.tables.values():
        told = next(table for table in tables if table.name == "circuit_tasks")
        assert told.columns["reason"] == [None]
