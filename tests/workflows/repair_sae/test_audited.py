"""The twin that is repaired is the twin that was audited, or none is."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bitlens.compression.calibration import cache as kept
from bitlens.config.study import audit_of, study_of_written
from bitlens.errors import BitlensError
from bitlens.results.store import Store
from bitlens.sae.formats.load import save_sae
from bitlens.sae.sae import TrainedOn
from bitlens.workflows.audit.run import run
from bitlens.workflows.repair_sae.run import RECORD, RepairRequest, repair_run
from tests.support.saes import small_sae

TWIN = "gptq:bits=4,group=16"
TOKENS = 900


@pytest.fixture
def results(
    llama: Path, short_texts: Path, other_texts: Path, tmp_path: Path, monkeypatch: Any
) -> Path:
    """An audit of a calibrated twin of a tiny model, whose files may all be changed."""
    monkeypatch.setenv(kept.ENVIRONMENT, str(tmp_path / "cache"))
    model = shutil.copytree(llama, tmp_path / "model")
    for name, source in (("texts", short_texts), ("calibration", other_texts)):
        shutil.copy(source, tmp_path / f"{name}.jsonl")
    study = audit_of(
        str(model), TWIN, controls=(), analyses=("behaviour",), tokens=1000, context=64,
        text=str(tmp_path / "texts.jsonl"), calibration=str(tmp_path / "calibration.jsonl"),
        calibration_tokens=TOKENS, allow=("poor-fit",),
    )  # fmt: skip
    run(study, tmp_path / "results", "an audit", lambda line: None)
    return tmp_path / "results"


@pytest.fixture
def repair(results: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """A repair with other calibration tokens than the audit's; what it said."""
    width = json.loads((tmp_path / "model" / "config.json").read_text())["hidden_size"]
    sae = replace(small_sae(width=width), hook="resid.1", trained_on=TrainedOn(model="model"))
    save_sae(sae, tmp_path / "sae")

    def run_it(tokens: int = 3000) -> list[str]:
        said: list[str] = []
        sae = str(tmp_path / "sae")
        request = RepairRequest(results=results, twin=TWIN, sae=sae, calibration_tokens=tokens)
        repair_run(request, tmp_path / "out", said.append)
        return said

    return run_it


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_the_twin_is_the_audits_whatever_the_repair_learns_from(
    results: Path, repair: Callable[..., list[str]], tmp_path: Path
) -> None:
    """With three times the tokens to learn from, no twin is calibrated and no file of the kept one
    is touched; the record says by which documents it was made, and by which the repair."""
    before = files(kept.twins())
    assert before
    said = repair()
    assert files(kept.twins()) == before
    assert not any("Calibrating" in line for line in said)
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    store = Store.open(results)
    (cell,) = store.manifest()["cells"]
    settings = store.read_cell(cell["id"])[0].settings
    assert record["origin"] == {"calibration": settings["calibration"]}
    assert record["calibration"]["sha256"] != settings["calibration"]
    assert record["calibration"]["tokens"] > TOKENS


@pytest.mark.slow
def test_a_repair_that_is_there_is_shown_again(
    repair: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same table, nothing learnt and no byte written; one of other documents is refused."""
    repair()
    before = files(tmp_path / "out")

    def never(*arguments: object) -> None:
        raise AssertionError("it was repaired again")

    with monkeypatch.context() as patch:
        patch.setattr("bitlens.workflows.repair_sae.run.repair", never)
        said = repair()
        assert said[-1] == f"{tmp_path / 'out'} holds this repair already; nothing to compute."
        with pytest.raises(BitlensError, match="repair of something else: calibration"):
            repair(2000)
    assert files(tmp_path / "out") == before
    (tmp_path / "out" / RECORD).write_text("{}")
    with pytest.raises(BitlensError, match=r"repair\.json cannot be read: bitlens is missing"):
        repair()


def test_results_that_ask_to_run_code_need_the_users_word(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are data that somebody sent: nothing is loaded without the option, and with it only
    where they ask."""
    manifest = json.loads((results / "manifest.json").read_text())
    manifest["settings"]["models"][0]["trust_remote_code"] = True
    (results / "manifest.json").write_text(json.dumps(manifest))
    loaded: list[bool] = []

    def seen(source: Any, memory: int) -> None:
        loaded.append(source.trust_remote_code)
        raise KeyboardInterrupt

    monkeypatch.setattr("bitlens.workflows.session.load", seen)
    request = RepairRequest(results=results, twin=TWIN, sae="sae")
    with pytest.raises(BitlensError, match="asks to run code that comes with") as caught:
        repair_run(request, tmp_path / "out", print)
    assert caught.value.remedy == "read that code, then --trust-remote-code."
    assert loaded == []
    with pytest.raises(KeyboardInterrupt):
        repair_run(replace(request, trust_remote_code=True), tmp_path / "out", print)
    assert loaded == [True]


@pytest.mark.parametrize("home", ["/", "{folder}/mod"])
def test_paths_lead_back_from_anywhere(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    """Named from another folder; with a home that is the whole disk, or that a path merely begins
    like."""
    monkeypatch.setenv("HOME", home.format(folder=tmp_path))
    monkeypatch.chdir(tmp_path)
    study = audit_of("model", TWIN, text="texts.jsonl", calibration="calibration.jsonl")
    written = study.to_dict()
    monkeypatch.chdir("/")
    back = study_of_written(written, trust_remote_code=False, where="here")
    assert back.models[0].name == str(tmp_path / "model")
    assert back.text == str(tmp_path / "texts.jsonl")
    assert back.calibration == str(tmp_path / "calibration.jsonl")


def change_weights(folder: Path) -> None:
    file = folder / "model" / "model.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values())).add_(torch.tensor(0.01))
    save_file(tensors, file, metadata={"format": "pt"})


def change_lines(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / name
        lines = file.read_text().splitlines()
        file.write_text("\n".join(line.replace("a", "e") for line in lines) + "\n")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_weights, "The weights of model changed since the audit: "),
        (change_lines("texts.jsonl"), "The tokens of texts.jsonl changed since the audit: "),
        (change_lines("calibration.jsonl"), r"What gptq\S+ is made by \(calibration\) changed"),
    ],
)
def test_what_changed_since_the_audit_is_refused(
    repair: Callable[..., list[str]], tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    """Other weights, other texts, other calibration documents: said in three parts, and no
    folder."""
    change(tmp_path)
    with pytest.raises(BitlensError, match=message) as caught:
        repair()
    assert "what was audited" in str(caught.value)
    assert "--out" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_twin_of_which_nothing_was_measured_is_refused(
    repair: Callable[..., list[str]], results: Path
) -> None:
    """Whatever a manifest says of the twin itself."""
    path = results / "manifest.json"
    manifest = json.loads(path.read_text())
    for cell in manifest["cells"]:
        cell |= {"status": "failed", "reason": "something"}
    path.write_text(json.dumps(manifest))
    with pytest.raises(BitlensError, match=r"nothing that was measured of gptq"):
        repair()
