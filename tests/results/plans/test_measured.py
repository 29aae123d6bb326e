"""The file of a plan that was audited."""

import json
from pathlib import Path
from typing import Any

import pytest

from bitlens.errors import BitlensError
from bitlens.results.plans.measured import ALONE, read_measured, write_measured
from tests.support.sensitivities import planned


def written(folder: Path, **changed: Any) -> None:
    plan = planned(**changed)
    write_measured(folder, {name: of for name, of in plan.items() if name != "schema"})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """All of it comes back."""
    written(tmp_path)
    assert read_measured(tmp_path) == planned()


def test_a_plan_of_before_others_could_be_taken_is_that_of_its_effects(tmp_path: Path) -> None:
    """Its file does not say what the plan began as."""
    written(tmp_path)
    path = tmp_path / "plan.json"
    plan = json.loads(path.read_text())
    del plan["start"], plan["swaps"][0]["start"]
    path.write_text(json.dumps(plan))
    found = read_measured(tmp_path)
    assert found["start"] == found["swaps"][0]["start"] == ALONE


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"measure": "taste"}, "no measure"),
        ({"candidates": planned()["candidates"][1:]}, "not the one proposed"),
        ({"candidates": [planned()["candidates"][0]] * 2}, "not the one proposed"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(
    tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    """Somebody else's file ends in a sentence, not in a traceback."""
    written(tmp_path, **changed)
    with pytest.raises(BitlensError, match=told):
        read_measured(tmp_path)
