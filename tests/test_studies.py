"""The studies that come with bitlens: each can be run, each pair differs as its README says, and
of the one that takes three changes apart each is a change of one thing."""

import importlib.util
import re
import shlex
import sys
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from scipy.stats import t

from bitlens import cli
from bitlens.compress import format, parse
from bitlens.data.hub import PREFIX, HubSource
from bitlens.records import Cell, Metric, Value
from bitlens.store import Store
from bitlens.study import load_study

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "studies"
README = (STUDIES / "README.md").read_text(encoding="utf-8")
FILES = sorted(path.name for path in STUDIES.glob("*.yaml"))
PAIRS = [name for name in FILES if name.replace(".yaml", "_corrected.yaml") in FILES]
APART = [name for name in FILES if name.startswith("what_broke_")]
"""One study on several models, which needs no correction."""
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line
]


def settings(name: str) -> dict[str, object]:
    """What stands in the file and what it leaves at its default, without paths of this machine."""
    return load_study(STUDIES / name).to_dict()


def corrected(name: str) -> str:
    return name.replace(".yaml", "_corrected.yaml")


def family(name: str) -> str:
    return re.split("[_.]", name)[0]


def table_of_settings() -> dict[str, set[str]]:
    """The README's table of what a correction changes: by setting, the families it changes."""
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|", README, re.MULTILINE)
    return {
        name: {kind for kind, cell in (("heads", heads), ("features", features)) if "–" not in cell}
        for name, heads, features in rows
    }


def test_every_study_has_its_correction():
    """Of those that repeat an earlier study half are corrections of the other half."""
    assert sorted([*PAIRS, *map(corrected, PAIRS), *APART]) == FILES
    assert (len(PAIRS), len(APART)) == (6, 3)


@pytest.mark.parametrize("name", FILES)
def test_every_study_loads(name: str):
    """Every setting, compression and analysis in it exists, and none is a repetition."""
    assert load_study(STUDIES / name).compressions


@pytest.mark.parametrize("name", FILES)
def test_what_a_study_needs_is_said(name: str):
    """A file or folder that does not come with bitlens is named in the README; hub texts have a
    configuration and a split."""
    study = yaml.safe_load((STUDIES / name).read_text(encoding="utf-8"))
    texts = [study["text"], study.get("calibration", "demo")]
    needed = [text for text in texts if not text.startswith(PREFIX)]
    for text in set(texts) - set(needed):
        source = HubSource.parse(text)
        assert source.config and source.split
    for model in study["models"]:
        needed += model.get("saes", []) if isinstance(model, dict) else []
    for path in needed:
        assert path == "demo" or f"`{path}`" in README


@pytest.mark.parametrize("name", PAIRS)
def test_a_correction_changes_what_the_readme_says(name: str):
    """No setting beyond the README's table, and those it names for all of a family do differ."""
    before, after = settings(name), settings(corrected(name))
    changed = {key for key in before if before[key] != after[key]}
    said = {key for key, families in table_of_settings().items() if family(name) in families}
    assert changed <= said
    assert {"bos", "positions", "compressions", "controls"} <= changed


@pytest.mark.parametrize("name", PAIRS)
def test_a_correction_keeps_the_models_and_adds_to_the_analyses(name: str):
    """Models and SAEs stay; no analysis is dropped."""
    before, after = settings(name), settings(corrected(name))
    assert before["models"] == after["models"]
    assert set(before["analyses"]) <= set(after["analyses"])


@pytest.mark.parametrize("name", PAIRS)
def test_the_earlier_settings_are_the_same_on_every_model(name: str):
    """No BOS, every position, no control; one axis for all roundings of a family."""
    study = settings(name)
    assert (study["bos"], study["positions"], study["controls"]) == ("no", "all", [])
    axis = {"heads": "axis=input", "features": "axis=heads"}[family(name)]
    assert all(axis in c for c in study["compressions"] if c.startswith("rtn"))


@pytest.mark.parametrize("name", map(corrected, PAIRS))
def test_the_corrected_settings_are_the_same_on_every_model(name: str):
    """BOS, content positions, both controls; one rounding keeps the earlier axis to compare."""
    study = settings(name)
    assert (study["bos"], study["positions"]) == ("yes", "content")
    assert study["controls"] == ["cast", "noise"]
    assert sum("axis=" in c for c in study["compressions"]) == 1


@pytest.fixture(scope="module")
def what_broke() -> ModuleType:
    """The script, which is no module of bitlens."""
    spec = importlib.util.spec_from_file_location("what_broke", STUDIES / "what_broke.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", APART)
def test_the_changes_taken_apart_are_those_of_the_study(name: str, what_broke: ModuleType):
    """Every twin that the script compares is made, and none is made for nothing."""
    ends = {text for _, before, after in what_broke.CHANGES for text in (before, after)}
    compared = {format(parse(text.format(bits))) for text in ends for bits in what_broke.BITS}
    assert compared == set(settings(name)["compressions"])


def test_the_numbered_changes_lead_from_the_first_twin_to_gptq(what_broke: ModuleType):
    """Each begins where the one before ends; the third ends where everything at once does."""
    (_, start, end), *changes = what_broke.CHANGES
    steps = [(before, after) for name, before, after in changes if name[0].isdigit()]
    assert steps[0][0] == start and steps[2][1] == end and steps[3][1] == "gptq:bits={}"
    assert all(one[1] == two[0] for one, two in pairwise(steps))


@pytest.mark.parametrize("name", APART)
def test_what_was_changed_is_the_same_on_every_model(name: str):
    """Text, its length and the analyses are the model's; nothing else is."""
    one, other = settings("what_broke_gpt2.yaml"), settings(name)
    differing = {key for key in one if one[key] != other[key]}
    own = {"models", "text", "tokens", "calibration", "calibration_tokens", "context"}
    assert differing <= own | {"analyses"}


def test_a_quotient_by_hand(what_broke: ModuleType):
    """4 after 2 is twice as much. Without a shard log2 is 0 and 2 where it is 1: a jackknife's
    standard error of 1, and t with one degree of freedom; of 0 there is none."""
    before, after = (
        Value("kl", "", "", value, replicates)
        for value, replicates in ((2.0, (2.0, 2.0)), (4.0, (2.0, 8.0)))
    )
    half = 2 ** t.ppf(0.975, 1)
    assert what_broke.quotient(before, after) == pytest.approx((2, 2 / half, 2 * half))
    assert what_broke.quotient(before, Value("kl", "", "", 0.0, (0.0, 0.0))) is None


def test_what_broke_reads_a_store(
    what_broke: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """One line a metric, change and number of bits, of the twins that are there."""
    store, numbers = Store.create(tmp_path), {"rtn:bits=4": 2.0, "gptq:bits=4": 1.0}
    cells = []
    for text, number in numbers.items():
        cell = Cell("m", text, "behaviour", 0)
        replicates = tuple(number * factor for factor in (0.9, 1.0, 1.1))
        store.write_cell(cell, [Value("kl", "logits", "", number, replicates, None, 3)])
        cells.append({"id": cell.id, "status": "done"})
    kl = Metric("kl", "How far?", "nats", "higher", 0.0, "log")
    store.write_manifest({"metrics": {"behaviour.kl": asdict(kl)}, "cells": cells})
    what_broke.main(str(tmp_path))
    _, line = capsys.readouterr().out.splitlines()
    assert line.startswith(
        "behaviour.kl logits  seed 0, 4 bits, RTN to GPTQ, nothing else: 2, 1, x0.5 [0.5, 0.5], p"
    )


def test_every_study_is_explained():
    """The README names each file."""
    assert [name for name in FILES if f"`{name}`" not in README] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_refer_to_what_is_there(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Studies are checked, scripts exist, and the options of audits are ones that exist."""
    words = shlex.split(command)
    assert words[0] in ("bitlens", "python")
    for word in words:
        if word.startswith("studies/"):
            assert (ROOT / word).is_file(), word
    if words[:2] == ["bitlens", "study"]:
        monkeypatch.chdir(tmp_path)
        Path("studies").symlink_to(STUDIES)
        for model in load_study(words[2]).models:
            for sae in model.saes:
                if not Path(sae).is_dir():
                    assert f"`{sae}`" in README, "how to come by it"
                    Path(sae).mkdir(parents=True)
        words = [*words[: words.index("--out")], "--out", str(tmp_path / "out"), "--check"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
    if words[:2] == ["bitlens", "audit"]:
        known = {f"--{name.replace('_', '-')}" for name in ("to", "out", "sae", "seed")}
        known |= {f"--{name}" for name in load_study(STUDIES / FILES[0]).to_dict()}
        assert {word for word in words if word.startswith("--")} <= known
