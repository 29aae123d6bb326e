"""The file of results: statistics over seeds from numbers by seed, and whose they are."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitlens.config.sae_study import Configuration
from bitlens.errors import BitlensError
from bitlens.sae.alignment.compare import BEST, ROTATED
from bitlens.workflows.sae_study.measures import ALIGNED, FROZEN, IN_SAMPLE, ROLES, SURVIVAL, R
from bitlens.workflows.sae_study.results import Results, estimates, ratios
from tests.support.sae_studies import ABOUT, NARROW, WIDE


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
        Results.open(path, {**ABOUT, "held out": {"documents": 13, "sha256": "def"}})


def keys(content: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every key and of every item."""
    if isinstance(content, dict | list):
        for name, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield (*at, name)
            yield from keys(value, (*at, name))


def written(path: Path) -> dict[str, Any]:
    """Everything that a file can hold."""
    found = Results.open(path, ABOUT)
    fit = {"positions": 500, "fvu": 0.2, "l0": 8.0, "alive": 1.0, "steps": 9, "learnt from": 1000}
    saes = {"reference": {"0": fit}, "rtn:bits=4": {"0": fit}}
    found.cka["rtn:bits=4"] = {"value": 0.9, "low": None, "high": None, "chance": 0.1}
    for one in (NARROW, WIDE):
        found.put({**one, "saes": saes})
    found.write()
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.mark.slow
def test_every_part_of_a_file_is_checked(tmp_path: Path) -> None:
    """Whatever is in the place of a value, of the first of a list, the file and the key are named;
    so is a key that is missing, but for those of what may not have been measured."""
    path = tmp_path / "results.json"
    whole = written(path)
    assert Results.open(path, ABOUT).content == whole
    tried, free = 0, {*map(str, range(9)), *FROZEN, *ALIGNED, *ROLES, "reference", "rtn:bits=4"}
    for place in keys(whole):
        if any(isinstance(step, int) and step > 0 for step in place) or place[-1] == 0:
            continue
        *way, last = place
        for value in ({"x": [1]}, None):
            content = copy.deepcopy(whole)
            inner = content
            for step in way:
                inner = inner[step]
            if value is None and (last in free or re.fullmatch(r"\d \d", str(last))):
                continue
            if value is None:
                del inner[last]
            else:
                inner[last] = value
            path.write_text(json.dumps(content))
            with pytest.raises(BitlensError) as caught:
                Results.open(path, ABOUT)
            assert "results.json" in caught.value.found
            assert str(last) in caught.value.found
            tried += 1
    assert tried > 150


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "JSON|delimiter|Expecting"),
        ("[]", "it is not as it should be"),
        ("[" * 100_000, "nested too deeply"),
        ('{"schema": 99}', "has schema 99"),
        ("{}", "schema is missing"),
    ],
)
def test_what_is_no_file_of_results_is_refused(tmp_path: Path, content: str, said: str) -> None:
    """And another version is told apart from it."""
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(BitlensError, match=said):
        Results.open(path, ABOUT)


@pytest.mark.parametrize(
    ("way", "value", "said"),
    [
        (("frozen",), {}, "frozen"),
        (("frozen", "x"), {}, "frozen"),
        (("frozen", "0", "values", "silly"), 1.0, "silly"),
        (("frozen", "0", "flow"), [[1, 0, 0, 0]], "flow"),
        (("frozen", "0", "values", R), 10**400, "takes more than 64 bits"),
        (("aligned", "found", BEST, "value"), {}, "value"),
        (("aligned", "found", BEST, "value"), {"0 1 2": 1.0}, "0 1 2"),
        (("aligned", "found", BEST, "value"), {"9" * 5000: 1.0}, "value"),
        (("aligned", "found", BEST, "silly"), {"0 1": 1.0}, "silly"),
        (("latents",), 0, "latents"),
        (("colour",), "red", "colour is not known"),
    ],
)
def test_what_would_make_no_page_is_refused(
    tmp_path: Path, way: tuple[str, ...], value: Any, said: str
) -> None:
    """No seeds, names that nobody asks for, numbers without end."""
    path = tmp_path / "results.json"
    content = written(path)
    inner = content["configurations"][0]
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(BitlensError, match=said) as caught:
        Results.open(path, ABOUT)
    assert caught.value.remedy == f"delete {path}: SAEs are kept."
