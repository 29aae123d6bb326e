"""What the table of a repair says below it."""

from typing import Any

import pytest
import torch

from bitlens.sae.repair.repair import GAIN, MAP, UNREPAIRED, Repaired, RepairStep
from bitlens.workflows.repair_sae.measured import LOSS_CHANGE
from bitlens.workflows.repair_sae.shown import Repair, record, table
from tests.support.saes import small_sae


def repaired(gain: Any, mapped: Any) -> Repair:
    """Three steps, the last the best, with these changes of loss recovered."""
    sae = small_sae()
    steps = [
        RepairStep(UNREPAIRED, sae, 0.4),
        RepairStep(GAIN, sae, 0.3),
        RepairStep(MAP, sae, 0.2),
    ]
    numbers: dict[str, Any] = {UNREPAIRED: {}}
    for step, (value, low, high) in ((GAIN, gain), (MAP, mapped)):
        reason = "no loss is lost" if value is None else None
        change = {"value": value, "low": low, "high": high, "documents": 90, "reason": reason}
        numbers[step] = {LOSS_CHANGE.name: change}
    lost: dict[str, list[int]] = {"repaired": [1], "not repaired": [2], "lost by the repair": []}
    facts = {"evaluation": {"documents": 90}}
    return Repair(
        made=Repaired(steps, torch.zeros(3)),
        numbers=numbers,
        lost=lost,
        readable={},
        facts=facts,
    )


def test_a_step_that_lowers_loss_recovered_is_named_with_its_interval() -> None:
    """In points, and only the step that does: 0.97 to 0.95 is -2 points."""
    said = table(record(repaired((-0.02, -0.03, -0.01), (0.01, 0.0, 0.02)))).caption
    assert "−2.0 points [−3.0, −1.0] by the gain and offset." in said
    assert "by the linear map. Codes" not in said


@pytest.mark.parametrize("change", [(0.01, 0.0, 0.02), (0.0, 0.0, 0.0), (None, None, None)])
def test_nothing_is_said_where_no_step_lowers_it(change: Any) -> None:
    """More, the same, or not known."""
    assert "Loss recovered changes" not in table(record(repaired(change, change))).caption
