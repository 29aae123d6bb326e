"""The list of mistakes that are planted to try the tests: it must not rot."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("seed_faults", ROOT / "tools" / "seed_faults.py")
assert _spec
assert _spec.loader
seed_faults = importlib.util.module_from_spec(_spec)
sys.modules["seed_faults"] = seed_faults
_spec.loader.exec_module(seed_faults)

FAULTS = seed_faults.faults()
ROOMS = {path.parent.name for path in (ROOT / "src" / "bitlens").glob("*/__init__.py")} - {"demo"}
"""Of the embedded model, only assets are in the package."""


def room(file: str) -> str:
    """The room a file is of; nothing at the top level, `tools` for what is not in the package."""
    parts = Path(file).parts
    if parts[:2] != ("src", "bitlens"):
        return parts[0]
    return parts[2] if len(parts) > 3 else ""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_mistake_can_still_be_made(fault):
    """Its text stands there exactly once, what replaces it is Python, and its tests are there."""
    text = (ROOT / fault.file).read_text(encoding="utf-8")
    planted = fault.planted(text)
    assert planted != text
    assert fault.why
    ast.parse(planted)
    for test in fault.tests:
        path, *names = test.split("::")
        assert (ROOT / path).exists()
        if names:
            assert f"def {names[0].split('[')[0]}(" in (ROOT / path).read_text(encoding="utf-8")


def test_mistakes_are_spread_over_every_room():
    """Forty at least, none twice, and the ground has some too."""
    assert len(FAULTS) >= 60
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert {room(fault.file) for fault in FAULTS} == ROOMS | {"", "tools"}


def test_a_fault_whose_text_is_gone_is_said():
    """It would otherwise be caught for ever, or never."""
    fault = FAULTS[0]
    with pytest.raises(ValueError, match="stands 0 times"):
        fault.planted("")
