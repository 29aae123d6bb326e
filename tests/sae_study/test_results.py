"""The file of results: statistics over seeds from numbers by seed, and whose they are."""

import json
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import pytest

from bitlens.errors import BitlensError
from bitlens.sae.alignment.compare import BEST, MUTUAL, ROTATED, SHARED
from bitlens.sae_study.measures import IN_SAMPLE, SURVIVAL
from bitlens.sae_study.results import Results, estimates, ratios
from bitlens.sae_study.settings import Configuration

ABOUT = {"model": "tiny", "width": 64, "penalty": "k"}
SEEDS = range(3)


def record(width: str, latents: int, value: float, chance: float, ceiling: float) -> dict[str, Any]:
    """Three seeds that all say the same."""
    roles = {
        "value": {f"{a} {b}": value for a, b in permutations(SEEDS, 2)},
        "same": {f"{a}": 0.99 for a in SEEDS},
        "random": {f"{a}": chance for a in SEEDS},
        "ceiling": {f"{a} {b}": ceiling for a, b in combinations(SEEDS, 2)},
    }
    numbers = {SURVIVAL: value, "r": 0.95, "fvu_reference": 0.2, "fvu_twin": 0.25}
    read = {"values": numbers | {"l0_reference": 8, "l0_twin": 8}, "chance": {SURVIVAL: 0.0}}
    flow = [[1, 0, 0, 0], [0, 2, 1, 0], [0, 0, 4, 0], [0, 0, 0, 0]]
    return {
        "width": width,
        "penalty": 8,
        "epochs": 1,
        "tokens": 1000,
        "twin": "rtn:bits=4",
        "latents": latents,
        "fingerprints": [[width], ["b"]],
        "saes": {},
        "frozen": {str(seed): {**read, "flow": flow} for seed in SEEDS},
        "aligned": {
            "found": {measure: roles for measure in (BEST, MUTUAL, SHARED, IN_SAMPLE)},
            "absent": {ROTATED: "too few"},
        },
    }


NARROW, WIDE = record("0.5x", 32, 0.75, 0.5, 1.0), record("8x", 512, 0.375, 0.25, 0.875)


def row(rows: list[dict[str, Any]], measure: str, column: str) -> dict[str, Any]:
    (found,) = (r for r in rows if (r["measure"], r["column"]) == (measure, column))
    return found


def test_what_a_configuration_says_by_hand() -> None:
    """0.75 between 0.5 by chance and a ceiling of 1 is half of the way; without structure 32
    directions in 64 dimensions reach 0.875."""
    found = estimates(NARROW, 64)
    assert row(found, BEST, "value")["value"] == 0.75
    assert row(found, BEST, "normalised")["value"] == pytest.approx(0.5)
    assert row(found, IN_SAMPLE, "null")["value"] == 0.875
    assert row(found, SURVIVAL, "value")["value"] == 0.75
    assert row(found, SURVIVAL, "chance")["value"] == 0
    assert row(found, BEST, "value")["seeds"] == 3
    assert row(found, ROTATED, "normalised")["reason"] == "value, chance or ceiling is missing"
    assert not any(r["measure"] == ROTATED and r["column"] == "value" for r in found)


def test_narrowest_over_widest_by_hand() -> None:
    """Twice as large, as is chance; between chance and ceiling 0.5 over 0.2: 2.5 times; without
    structure 0.875 over 0.2963."""
    found = ratios([WIDE, NARROW], 64)
    assert row(found, BEST, "value")["value"] == pytest.approx(2)
    assert row(found, BEST, "chance")["value"] == pytest.approx(2)
    assert row(found, BEST, "ceiling")["value"] == pytest.approx(1 / 0.875)
    assert row(found, BEST, "normalised")["value"] == pytest.approx(2.5)
    assert row(found, IN_SAMPLE, "null")["value"] == pytest.approx(0.875 / 0.2963, rel=1e-3)
    assert (row(found, BEST, "value")["width"], row(found, BEST, "value")["over"]) == ("0.5x", "8x")
    assert ratios([WIDE], 64) == []


def test_other_settings_are_other_groups() -> None:
    """Widths are compared where everything else is the same."""
    assert ratios([NARROW, {**WIDE, "tokens": 2000}], 64) == []


def test_what_was_compared_is_known_until_its_saes_change(tmp_path: Path) -> None:
    """In the file, too; a newer record takes the place of the older."""
    path = tmp_path / "results.json"
    found = Results.open(path, ABOUT)
    found.put(NARROW)
    found.write()
    again = Results.open(path, ABOUT)
    place = Configuration("0.5x", 8, 1, 1000)
    assert again.known(place, "rtn:bits=4", [["0.5x"], ["b"]])
    assert not again.known(place, "rtn:bits=4", [["0.5x", "more"], ["b"]])
    assert not again.known(place, "rtn:bits=3", [["0.5x"], ["b"]])
    again.put({**NARROW, "fingerprints": [["new"], ["b"]]})
    assert len(again.configurations) == 1
    content = json.loads(path.read_text())
    assert row(content["estimates"], BEST, "value")["value"] == 0.75


def test_another_studys_results_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    """With what differs."""
    path = tmp_path / "results.json"
    Results.open(path, ABOUT).write()
    with pytest.raises(BitlensError, match="holds a study with another model"):
        Results.open(path, {**ABOUT, "model": "other"})
    with pytest.raises(BitlensError, match="the text as long as it was then"):
        Results.open(path, {**ABOUT, "held out": "others"})
    path.write_text("{")
    with pytest.raises(BitlensError, match="is damaged"):
        Results.open(path, ABOUT)
