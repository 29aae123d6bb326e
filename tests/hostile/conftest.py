"""A command that meets a hostile input, and what is to be seen of it."""

import hashlib
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bitlens import cli
from bitlens.config.study import Study
from bitlens.workflows.audit.run import run
from tests.support.hostile import Case, Place, Refused

LATENTS, WIDTH = 16, 64


@pytest.fixture(scope="session")
def sae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SAE as SAELens writes it."""
    folder = tmp_path_factory.mktemp("sae") / "sae"
    folder.mkdir()
    draw = torch.Generator().manual_seed(0)
    w_dec = torch.nn.functional.normalize(torch.randn(LATENTS, WIDTH, generator=draw), dim=1)
    tensors = {
        "W_enc": w_dec.T.contiguous(),
        "W_dec": w_dec,
        "b_enc": torch.zeros(LATENTS),
        "b_dec": torch.zeros(WIDTH),
    }
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {
        "architecture": "standard",
        "d_in": WIDTH,
        "d_sae": LATENTS,
        "hook_name": "blocks.1.hook_resid_post",
        "hook_layer": 1,
        "dtype": "float32",
    }
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def results(
    llama: Path, short_texts: Path, sae: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An audit to be spoilt."""
    out = tmp_path_factory.mktemp("hostile") / "results"
    study = Study.model_validate(
        {
            "models": [{"name": str(llama), "saes": [str(sae)]}],
            "compressions": ["rtn:bits=4"],
            "controls": [],
            "analyses": ["behaviour", "geometry", "features"],
            "text": str(short_texts),
            "tokens": 1200,
            "allow": ["poor-fit"],
        }
    )
    run(study, out, "bitlens audit", lambda line: None)
    return out


@pytest.fixture
def place(tmp_path: Path, llama: Path, short_texts: Path, sae: Path, results: Path) -> Place:
    """A folder to lay the input in."""
    return Place(tmp_path, llama, short_texts, sae, results)


@pytest.fixture
def refused(
    place: Place,
    no_pictures: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Refused:
    """The command of a case ends in a message of three parts and exit code 2, and leaves
    everything outside of its own folder as it was."""

    def check(case: Case) -> None:
        monkeypatch.chdir(place.root)
        arguments = case.make(place)
        before = outside(place)
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["bitlens", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capfd.readouterr()
        assert stop.value.code == 2, out + err
        message = re.search(r"([^\n]*\S[^\n]*)\nExpected: [^\n]+\nTry: [^\n]+\n\Z", err)
        assert message, err
        # Of paths the last part only: folders of tests are called after what they test.
        found = re.sub(r"[^\s'\"(]*/", "", message[1])
        assert re.search(case.said, found), err
        assert "Traceback" not in err
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", out + err.replace("\r", ""))
        assert outside(place) == before

    return check


def outside(place: Place) -> dict[str, str]:
    """What stands beside the folder that may be written to: by path, its link or its digest."""
    found = {}
    for path in sorted(place.root.rglob("*")):
        if path.is_relative_to(place.out):
            continue
        if path.is_symlink():
            found[str(path)] = str(path.readlink())
        elif path.is_file():
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
