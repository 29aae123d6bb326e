"""Formats are known by being there, and a plug-in's like ours."""

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens import registry
from bitlens.errors import BitlensError
from bitlens.sae.formats import format as formats
from bitlens.sae.formats.format import sae_format, sae_formats
from bitlens.sae.formats.load import load_sae, save_sae
from bitlens.sae.sae import Sae
from tests.support.saes import small_sae

PLUGIN = """
import io
import torch
from bitlens.sae.formats.format import sae_format
from bitlens.sae.sae import Sae

@sae_format("pickled", files=("about.txt", "weights.pt"))
def read(files, folder, overrides):
    held = torch.load(io.BytesIO(files["weights.pt"]), weights_only=True)
    return Sae(label=folder.name, hook=files["about.txt"].decode(), architecture="standard", **held)
"""


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What is registered meanwhile is forgotten afterwards."""
    sae_formats()
    mine = dict(formats._FORMATS)
    monkeypatch.setattr(formats, "_FORMATS", mine)
    monkeypatch.setattr(formats, "_PLUGINS", registry.Plugins("bitlens.sae_formats"))
    return mine


def test_every_module_that_registers_is_known() -> None:
    """By being in the folder; where two fit, the one that asks for more files comes first."""
    folder = Path(formats.__file__).parent
    texts = [path.read_text() for path in folder.glob("*.py")]
    assert sum(text.count("\n@sae_format(") for text in texts) == len(sae_formats())
    assert [found.name for found in sae_formats()] == [
        "SAELens",
        "dictionary_learning",
        "sparsify",
        "Gemma Scope",
    ]
    assert all(found.code == "" for found in sae_formats())


def test_a_name_is_taken_once(known: dict[str, Any]) -> None:
    """By whoever comes first."""

    def read(files: Mapping[str, bytes], folder: Path, overrides: Mapping[str, Any]) -> Sae:
        raise AssertionError

    assert sae_format("new", files=("a",))(read) is read
    assert known["new"].read is read
    with pytest.raises(ValueError, match="'new' is registered twice"):
        sae_format("new", files=("b",))(read)


def test_a_plug_in_reads_a_format_of_its_own(
    known: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its entry point alone; its code is part of what an SAE is; ours are read as before."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a_plugin_of_formats.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    point = EntryPoint("pickled", "a_plugin_of_formats", "bitlens.sae_formats")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    sae, folder = small_sae("standard"), tmp_path / "mine"
    folder.mkdir()
    (folder / "about.txt").write_text("resid.1")
    names = ("w_enc", "b_enc", "w_dec", "b_dec")
    torch.save({name: getattr(sae, name) for name in names}, folder / "weights.pt")
    found = load_sae(folder)
    assert (found.label, found.hook) == ("mine", "resid.1")
    assert torch.equal(found.w_dec, sae.w_dec)
    assert known["pickled"].code
    monkeypatch.setattr(registry, "_package", lambda name: "another version")
    assert load_sae(folder).fingerprint != found.fingerprint
    save_sae(sae, tmp_path / "ours")
    assert load_sae(tmp_path / "ours").hook == sae.hook
    (folder / "about.txt").unlink()
    with pytest.raises(BitlensError, match=r"has no about\.txt.*holds weights\.pt") as error:
        load_sae(folder)
    assert "about.txt and weights.pt (pickled)" in str(error.value)
