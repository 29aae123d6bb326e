"""train-sae and fit: folders of SAEs, and whether they fit."""

import re
import shutil
from pathlib import Path

import pytest

from bitlens.demo import sae_paths
from tests.support.commands import Command


@pytest.mark.slow
def test_saes_are_trained_on_a_model_and_its_twin(
    bitlens: Command, llama: Path, short_texts: Path, tmp_path: Path
):
    """A folder each, which `fit` finds where they belong; a mistake ends with three parts."""
    out = tmp_path / "saes"
    training = ("train-sae", llama, "--site", "resid.0", "--text", short_texts, "--out", out)
    two = ("--on", "reference", "--on", "rtn:bits=8")
    done = bitlens(*training, *two, "--width", "2x,4x", "--k", 8, "--epochs", 40, "--lr", 0.01)
    assert done.code == 0, done.err
    folders = sorted(out.iterdir())
    assert len(folders) == 4
    assert len(re.findall(r" 40 of 40 *$", done.out, re.M)) == 4
    fitted = bitlens("fit", llama, "--sae", folders[0], "--text", short_texts)
    assert "blocks.0.hook_resid_post = resid.0" in fitted.out
    assert bitlens(*training, "--arch", "standard", "--k", 8).code == 2


def test_saes_learn_from_the_positions_that_are_asked_for(
    bitlens: Command, llama: Path, short_texts: Path, tmp_path: Path
):
    """The last of every document: as many positions as documents."""
    training = ("train-sae", llama, "--site", "resid.-1", "--text", short_texts, "--epochs", 1)
    done = bitlens(*training, "--positions", "last", "--width", "1x", "--out", tmp_path / "sae")
    assert done.code == 0, done.err
    learnt = re.search(r"resid\.2 of .*: (\d+) positions of (\d+) documents", done.out)
    assert learnt
    assert learnt[1] == learnt[2]


def test_saes_that_fit_end_well(bitlens: Command):
    """A table with a verdict each."""
    done = bitlens("fit", "demo", "--tokens", 1500)
    assert done.code == 0
    assert len(re.findall(r"^resid\.\d-topk .* = resid\.\d .*%.* fits *$", done.out, re.M)) == 2


@pytest.mark.slow
def test_one_that_does_not_fit_ends_with_a_failure(bitlens: Command, tmp_path: Path):
    """The exit code is 1, and the table says where it belongs."""
    shutil.copytree(sae_paths()[0], tmp_path / "wrong")
    config = (tmp_path / "wrong" / "cfg.json").read_text()
    wrong = config.replace("blocks.1.hook_resid_post", "blocks.0.hook_resid_pre")
    (tmp_path / "wrong" / "cfg.json").write_text(wrong)
    done = bitlens("fit", "demo", "--sae", tmp_path / "wrong", "--tokens", 1500)
    assert done.code == 1
    assert "belongs elsewhere: at resid.1" in done.out


@pytest.mark.parametrize(
    ("sae", "message"),
    [
        ("nowhere", "--sae: there is no folder nowhere."),
        ("release:gpt2-small-res-bj:blocks.8.hook_resid_pre", "Try: Did you mean gpt2-small"),
        ("release:gpt2-small-res-jb", "names no SAE of a release"),
    ],
)
def test_saes_that_are_not_there_are_a_mistake(
    bitlens: Command, monkeypatch: pytest.MonkeyPatch, sae: str, message: str
):
    """Exit code 2, before the model is loaded."""
    monkeypatch.setattr(
        "bitlens.workflows.session.load", lambda *_: pytest.fail("the model was loaded")
    )
    done = bitlens("fit", "demo", "--sae", sae)
    assert done.code == 2
    assert message in done.err
