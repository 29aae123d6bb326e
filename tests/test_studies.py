"""The studies that come with bitlens: each can be run, each pair differs as its README says, and
of the one that takes three changes apart each is a change of one thing."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict
from inspect import signature
from itertools import pairwise, takewhile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from scipy.stats import t

from bitlens import cli
from bitlens.cli.saes import train_sae
from bitlens.compression import format_spec, parse_spec
from bitlens.config.sae_study import load_sae_study, trains
from bitlens.config.study import Study, load_study
from bitlens.data import code_prompts
from bitlens.data.hub import PREFIX, HubSource
from bitlens.models.sites import resolve, site
from bitlens.models.source import name_of
from bitlens.results.records import Cell, Metric, Value
from bitlens.results.store import Store
from bitlens.sae.formats.releases import find, is_release
from bitlens.workflows.preflight import absent, costs, from_the_hub
from tests.support import results, tiny

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "studies"
README = (STUDIES / "README.md").read_text(encoding="utf-8")
FILES = sorted(path.name for path in STUDIES.glob("*.yaml") if not trains(path))
"""Those of SAEs that are trained are a kind of their own (`sae_study/test_files.py`)."""
PAIRS = [name for name in FILES if name.replace(".yaml", "_corrected.yaml") in FILES]
APART = [name for name in FILES if name.startswith("what_broke_")]
"""One study on several models, which needs no correction."""
SIZES = [name for name in FILES if name.startswith("scaling_")]
"""Nor do those that set models beside each other by size."""
BEFORE = {"heads": ("no", "all"), "features": ("no", "all"), "transfer": ("auto", "last")}
AFTER = {
    "heads": ("yes", "content"),
    "features": ("yes", "content"),
    "transfer": ("auto", "content"),
}
"""By family, BOS and positions as they were and corrected."""
CHANGED = {
    "heads": {"bos", "positions", "compressions", "controls"},
    "features": {"bos", "positions", "compressions", "controls"},
    "transfer": {"positions", "controls", "analyses", "text", "seeds", "models"},
}
"""What differs on every model."""
AXES = {"heads": "axis=input", "features": "axis=heads", "transfer": ""}
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
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|", README, re.MULTILINE)
    return {
        name: {kind for kind, cell in zip(BEFORE, cells, strict=True) if "–" not in cell}
        for name, *cells in rows
    }


def test_every_study_has_its_correction():
    """Of those that repeat an earlier study half are corrections of the other half."""
    assert sorted([*PAIRS, *map(corrected, PAIRS), *APART, *SIZES]) == FILES
    assert (len(PAIRS), len(APART), len(SIZES)) == (9, 3, 1)


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
    needed = [text for text in texts if not text.startswith((PREFIX, code_prompts.PREFIX))]
    for text in texts:
        if text.startswith(PREFIX):
            source = HubSource.parse(text)
            assert source.config
            assert source.split
        if text.startswith(code_prompts.PREFIX):
            assert code_prompts.read_prompts(text)
    for model in study["models"]:
        for sae in model.get("saes", []) if isinstance(model, dict) else []:
            # A release is looked up; what is to be trained first, the file says how.
            if is_release(sae):
                assert find(sae)
            elif not trained_by(name, sae):
                needed.append(sae)
    for path in needed:
        assert path == "demo" or f"`{path}`" in README


def trained_by(name: str, sae: str) -> bool:
    """Whether the commands in a file's first lines write this SAE."""
    told = " ".join(comments(name))
    match = re.fullmatch(r"(.+)/resid\.(\d+)-(\w+)", sae)
    if not match:
        return False
    written = f"{match[1]}/" in told and f"resid.$n-{match[3]}" in told
    return written and match[2] in re.findall(r"\b\d+\b", told)


def comments(name: str) -> list[str]:
    """The lines before the first setting."""
    lines = (STUDIES / name).read_text(encoding="utf-8").splitlines()
    return list(takewhile(lambda line: line.startswith("#"), lines))


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize("name", [name for name in FILES if family(name) == "transfer"])
def test_one_command_trains_the_saes_and_runs_the_study(name: str, tmp_path: Path):
    """Every SAE that the study names, as its first lines say, then the study."""
    (tmp_path / "bitlens").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "bitlens").chmod(0o755)
    script = ["bash", str(STUDIES / "transfer.sh"), name.removesuffix(".yaml"), "out"]
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    *trained, last = subprocess.check_output(script, text=True, env=path).splitlines()
    told = " ".join(line[2:].strip().rstrip("\\") for line in comments(name))
    (command,) = re.findall(r"bitlens (train-sae .*?) done", told)
    model, block = command.split()[1], r"resid\.(\d+)"
    first = [line for line in trained if line.split()[1] == model]
    for line in first:
        (number, _) = re.findall(block, line)
        assert sorted(line.split()) == sorted(command.replace("$n", number).split())
    wanted = [sae for source in load_study(STUDIES / name).models for sae in source.saes]
    assert [line.split("--out ")[1] for line in trained] == wanted
    assert last == f"study {STUDIES / name} --out out"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FILES if family(name) == "transfer"])
def test_the_saes_are_those_of_the_rule_and_can_be_trained(name: str):
    """One for each block that the sites mean, at the places where training puts them, on prompts
    of which the corrected study reads none; the commands are ones that the command line takes."""
    study = load_study(STUDIES / name)
    for source, depth in zip(study.models, {1: [4], 2: [48, 40]}[len(study.models)], strict=True):
        layout = SimpleNamespace(depth=depth)
        meant = {site(s).depth for rule in study.sites for s in resolve(rule, layout)}
        assert sorted(meant) == [int(re.findall(r"resid\.(\d+)", sae)[0]) for sae in source.saes]
        assert all(trained_by(name, sae) for sae in source.saes)
    told = " ".join(line[2:].strip().rstrip("\\") for line in comments(name))
    (command,) = re.findall(r"bitlens (train-sae .*?) done", told)
    model, *words = shlex.split(command.replace("$n", "2"))[1:]
    assert model == yaml.safe_load((STUDIES / name).read_text())["models"][0]["name"]
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert {option[2:].replace("-", "_") for option in options} <= set(
        signature(train_sae).parameters
    )
    assert options.get("--positions", "content") == study.positions
    learnt, read = (
        {document.text for document in code_prompts.read_prompts(text)}
        for text in (options["--text"], study.text)
    )
    assert not learnt & read if name.endswith("_corrected.yaml") else learnt == read


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_study_is_planned_and_costed(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """What it needs is listed; where its model is here, its cost is known and every shape fits."""
    monkeypatch.chdir(tmp_path)
    study = load_study(STUDIES / name)
    here = [source for source in study.models if Path(source.name).exists()]
    for source in study.models:
        assert (source in here) != (source.name in from_the_hub(study))
        assert all(
            (s in from_the_hub(study)) or (s in absent(study)) or Path(s).exists()
            for s in source.saes
        )
    found = costs(study)
    assert len(found) == len(study.models)
    assert all(found[name_of(source)] for source in here)


@pytest.mark.parametrize(
    ("name", "families", "twins"),
    [
        ("features_gemma.yaml", ["gemma2"], 6),
        ("features_gemma_corrected.yaml", ["gemma2"], 7 + 1 + 7),
        ("transfer.yaml", ["qwen3_moe", "starcoder2"], 4),
        ("transfer_corrected.yaml", ["qwen3_moe", "starcoder2"], 4 + 3),
    ],
)
def test_what_is_not_here_fits_a_tiny_model_of_its_family(
    name: str, families: list[str], twins: int, tmp_path: Path
):
    """Every twin and control can be made of its matrices, experts among them, and every site is
    there."""
    models = []
    for source, kind in zip(load_study(STUDIES / name).models, families, strict=True):
        tiny.build(kind).config.save_pretrained(tmp_path / kind)
        kept = {"dtype": source.dtype, "compute": source.compute}
        models.append({"name": str(tmp_path / kind), **kept})
    values = yaml.safe_load((STUDIES / name).read_text(encoding="utf-8"))
    found = costs(Study.model_validate({**values, "models": models, "context": 32}))
    assert [cost and cost.twins for cost in found.values()] == [twins] * len(families)


@pytest.mark.parametrize("name", PAIRS)
def test_a_correction_changes_what_the_readme_says(name: str):
    """No setting beyond the README's table, and those it names for all of a family do differ."""
    before, after = settings(name), settings(corrected(name))
    changed = {key for key in before if before[key] != after[key]}
    said = {key for key, families in table_of_settings().items() if family(name) in families}
    assert changed <= said
    assert CHANGED[family(name)] <= changed


@pytest.mark.parametrize("name", PAIRS)
def test_a_correction_keeps_the_models_and_adds_to_the_analyses(name: str):
    """Models stay, and their SAEs but for those that are trained otherwise; no analysis is
    dropped."""
    before, after = settings(name), settings(corrected(name))
    for one, other in zip(before["models"], after["models"], strict=True):
        other = other | {"saes": one["saes"]} if family(name) == "transfer" else other
        assert one == other
    assert set(before["analyses"]) <= set(after["analyses"])


@pytest.mark.parametrize("name", PAIRS)
def test_the_earlier_settings_are_the_same_on_every_model(name: str):
    """BOS and positions of the family, no control; one axis for all its roundings."""
    study = settings(name)
    assert (study["bos"], study["positions"]) == BEFORE[family(name)]
    assert not study["controls"]
    assert all(AXES[family(name)] in c for c in study["compressions"] if c.startswith("rtn"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", map(corrected, PAIRS))
def test_the_corrected_settings_are_the_same_on_every_model(name: str):
    """BOS and positions of the family, both controls; one rounding keeps the earlier axis to
    compare, where there was one."""
    study = settings(name)
    assert (study["bos"], study["positions"]) == AFTER[family(name)]
    assert study["controls"] == ["cast", "noise"]
    assert sum("axis=" in c for c in study["compressions"]) == bool(AXES[family(name)])  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def what_broke() -> ModuleType:
    """The script, which is no module of bitlens."""
    spec = importlib.util.spec_from_file_location("what_broke", STUDIES / "what_broke.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", APART)
def test_the_changes_taken_apart_are_those_of_the_study(name: str, what_broke: ModuleType):
    """Every twin that the script compares is made, and none is made for nothing."""
    ends = {text for _, before, after in what_broke.CHANGES for text in (before, after)}
    compared = {
        format_spec(parse_spec(text.format(bits))) for text in ends for bits in what_broke.BITS
    }
    assert compared == set(settings(name)["compressions"])


def test_the_numbered_changes_lead_from_the_first_twin_to_gptq(what_broke: ModuleType):
    """Each begins where the one before ends; the third ends where everything at once does."""
    (_, start, end), *changes = what_broke.CHANGES
    steps = [(before, after) for name, before, after in changes if name[0].isdigit()]
    assert steps[0][0] == start
    assert steps[2][1] == end
    assert steps[3][1] == "gptq:bits={}"
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
        Value(metric="kl", site="", item="", value=value, replicates=replicates)
        for value, replicates in ((2.0, (2.0, 2.0)), (4.0, (2.0, 8.0)))
    )
    half = 2 ** t.ppf(0.975, 1)
    assert what_broke.quotient(before, after) == pytest.approx((2, 2 / half, 2 * half))
    assert (
        what_broke.quotient(
            before, Value(metric="kl", site="", item="", value=0.0, replicates=(0.0, 0.0))
        )
        is None
    )


def test_what_broke_reads_a_store(
    what_broke: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """One line a metric, change and number of bits, of the twins that are there."""
    store, numbers = Store.create(tmp_path), {"rtn:bits=4": 2.0, "gptq:bits=4": 1.0}
    cells = []
    for text, number in numbers.items():
        cell = Cell(model="m", compression=text, analysis="behaviour", seed=0)
        replicates = tuple(number * factor for factor in (0.9, 1.0, 1.1))
        store.write_cell(
            cell,
            [
                Value(
                    metric="kl",
                    site="logits",
                    item="",
                    value=number,
                    replicates=replicates,
                    chance=None,
                    documents=3,
                )
            ],
        )
        cells.append(results.entry(cell))
    kl = Metric("kl", "How far?", unit="nats", worse="higher", intact=0.0, scale="log")
    twins = [results.twin(text) for text in numbers]
    results.complete(store, metrics={"behaviour.kl": asdict(kl)}, cells=cells, twins=twins)
    what_broke.main(str(tmp_path))
    _, line = capsys.readouterr().out.splitlines()
    assert line.startswith(
        "behaviour.kl logits  seed 0, 4 bits, RTN to GPTQ, nothing else: 2, 1, x0.5 [0.5, 0.5], p"
    )


def test_every_study_is_explained():
    """The README names each file."""
    assert [name for name in FILES if f"`{name}`" not in README] == []


@pytest.mark.slow
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
        path = Path(words[2])
        wanted = load_sae_study(path).study if trains(path) else load_study(path)
        for model in wanted.models:
            for sae in model.saes:
                if not is_release(sae) and not Path(sae).is_dir():
                    said = f"`{sae}`" in README or trained_by(Path(words[2]).name, sae)
                    assert said, "how to come by it"
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
