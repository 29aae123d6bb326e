"""The table of `bitlens fit` says which SAEs fit a model, and where one belongs that does not."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitlens.config.study import audit_of
from bitlens.demo import sae_paths
from bitlens.errors import BitlensError
from bitlens.sae.formats.load import load_sae, save_sae
from bitlens.workflows.check_sae import check_saes

TOKENS = 2048
EARLY, LATE = sae_paths()


def moved(folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """A copy of the demo's SAE of block 1 with other settings."""
    shutil.copytree(EARLY, folder)
    config = json.loads((folder / "cfg.json").read_text())
    change(config)
    (folder / "cfg.json").write_text(json.dumps(config))
    return str(folder)


def table(*saes: str) -> tuple[list[dict[str, str]], bool, list[str]]:
    """Rows by title, whether all fit, and what was said."""
    said: list[str] = []
    study = audit_of("demo", "nothing", controls=(), saes=saes, tokens=TOKENS)
    found, good = check_saes(study, said.append)
    titles = [column.title for column in found.columns]
    return [dict(zip(titles, row, strict=True)) for row in found.rows], good, said


@pytest.mark.slow
def test_those_of_the_demo_fit() -> None:
    """Both, at the places and about the figures that its own training reports."""
    rows, good, said = table(str(EARLY), str(LATE))
    assert good
    assert not said
    assert [row["verdict"] for row in rows] == ["fits", "fits"]
    assert rows[0]["place"] == "blocks.1.hook_resid_post = resid.1"
    assert float(rows[0]["FVU"].rstrip("%")) < 20
    assert 40 < float(rows[0]["L0"]) <= 64
    assert rows[0]["latents"] == "1,024"
    assert rows[0]["published"] == ""


@pytest.mark.slow
def test_one_that_belongs_elsewhere_is_told_where(tmp_path: Path) -> None:
    """Said to be of the embedding, it fits block 1, which it is of; the other still fits."""
    wrong = moved(tmp_path / "wrong", lambda c: c["metadata"].update(hook_name="embed"))
    rows, good, _ = table(wrong, str(LATE))
    assert not good
    assert rows[1]["verdict"] == "fits"
    assert rows[0]["verdict"].startswith("belongs elsewhere: at resid.1 its FVU is 1")
    assert float(rows[0]["FVU"].rstrip("%")) > 50


@pytest.mark.slow
def test_one_that_fits_twice_as_well_elsewhere_is_told_where(tmp_path: Path) -> None:
    """Of block 1, said to be of what its MLP adds, which is much of it; and of another model."""
    other = {"hook_name": "blocks.1.hook_mlp_out", "model_name": "EleutherAI/pythia-70m"}
    wrong = moved(tmp_path / "wrong", lambda c: c["metadata"].update(other))
    rows, good, said = table(wrong)
    assert good
    assert 30 < float(rows[0]["FVU"].rstrip("%")) < 50
    assert rows[0]["verdict"].startswith("fits better elsewhere: at resid.1 its FVU is 1")
    assert said == ["wrong: its own files say that it was trained on EleutherAI/pythia-70m."]


@pytest.mark.slow
def test_one_that_fits_nowhere_fits_badly_and_what_differs_is_said(tmp_path: Path) -> None:
    """Its decoder points the other way; BOS and context are not those of its training."""
    sae = load_sae(EARLY)
    trained_on = replace(sae.trained_on, prepend_bos=False, context=16)
    save_sae(replace(sae, w_dec=-sae.w_dec, trained_on=trained_on), tmp_path / "upside-down")
    rows, good, said = table(str(tmp_path / "upside-down"))
    assert not good
    assert rows[0]["verdict"] == "fits badly"
    assert len(said) == 2
    assert said[0].startswith("upside-down: it was trained without BOS")
    assert "contexts of 16 tokens" in said[1]


@pytest.mark.slow
def test_published_figures_stand_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the release's table."""
    monkeypatch.setattr("bitlens.sae.formats.releases._installed", lambda: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, f: EARLY / Path(f).name)
    rows, good, _ = table("release:gpt2-small-res-jb:blocks.8.hook_resid_pre")
    assert good
    assert rows[0]["published"] == "FVU 10.0%, L0 60"


def test_without_an_sae_there_is_nothing_to_say(llama: Path) -> None:
    """A mistake, with the word for it."""
    with pytest.raises(BitlensError, match="--sae DIR"):
        check_saes(audit_of(str(llama), "nothing", controls=()), print)
