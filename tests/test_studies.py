"""The studies that come with bitlens: each can be run, and each pair differs as its README says."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from bitlens import cli
from bitlens.data.hub import PREFIX, HubSource
from bitlens.study import load_study

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "studies"
README = (STUDIES / "README.md").read_text(encoding="utf-8")
FILES = sorted(path.name for path in STUDIES.glob("*.yaml"))
PAIRS = [name for name in FILES if name.replace(".yaml", "_corrected.yaml") in FILES]
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
    """Half of the files are corrections of the other half, and nothing stands alone."""
    assert sorted([*PAIRS, *map(corrected, PAIRS)]) == FILES
    assert len(PAIRS) == 6


@pytest.mark.parametrize("name", FILES)
def test_every_study_loads(name: str):
    """Every setting, compression and analysis in it exists, and none is a repetition."""
    assert load_study(STUDIES / name).compressions


@pytest.mark.parametrize("name", FILES)
def test_what_a_study_needs_is_said(name: str):
    """A file or folder that does not come with bitlens is named in the README; hub texts have a
    configuration and a split."""
    study = yaml.safe_load((STUDIES / name).read_text(encoding="utf-8"))
    if study["text"].startswith(PREFIX):
        source = HubSource.parse(study["text"])
        assert source.config and source.split
    needed = [] if study["text"].startswith(PREFIX) else [study["text"]]
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
