"""Folders of sparsify are read as its own encoder means them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bitlens.errors import BitlensError
from bitlens.sae.formats.load import load_sae
from tests.support.saes import activations, small_sae

PLAIN = small_sae("topk")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a run leaves it: settings of the run above, one folder a module."""
    folder = tmp_path / "run" / "layers.1"
    folder.mkdir(parents=True)
    write(folder)
    run = {"model": "tiny", "ctx_len": 64, "hookpoints": ["layers.1"]}
    (folder.parent / "config.json").write_text(json.dumps(run))
    return folder


def write(folder: Path, **other: Any) -> None:
    config = {"d_in": 12, "k": 5, "num_latents": 40, "expansion_factor": 32, "multi_topk": True}
    config |= {"normalize_decoder": True, "activation": "topk", "transcode": False}
    (folder / "cfg.json").write_text(json.dumps(config | other))
    weights = {
        "encoder.weight": PLAIN.w_enc.T.contiguous(),
        "encoder.bias": PLAIN.b_enc,
        "W_dec": PLAIN.w_dec,
        "b_dec": PLAIN.b_dec,
    }
    save_file(weights, folder / "sae.safetensors")


def test_codes_are_the_k_largest_less_the_bias(folder: Path) -> None:
    """x - b_dec through the encoder, the 5 largest where positive; everything it says is kept."""
    sae, x = load_sae(folder), activations()
    before = (x - PLAIN.b_dec) @ PLAIN.w_enc + PLAIN.b_enc
    least = before.sort(1, descending=True).values[:, 4:5]
    torch.testing.assert_close(sae.encode(x), before.relu() * (before >= least))
    expected = (before.relu() * (before >= least)) @ PLAIN.w_dec + PLAIN.b_dec
    torch.testing.assert_close(sae.decode(sae.codes(x)), expected)
    assert (sae.label, sae.hook, sae.k) == ("layers.1", "layers.1", 5)
    assert (sae.trained_on.model, sae.trained_on.context) == ("tiny", 64)
    assert sae.trained_on.prepend_bos is None
    assert len(sae.fingerprint) == 64


def test_several_seeds_lie_a_folder_deeper(folder: Path) -> None:
    """The place is the folder above, the name both."""
    (folder / "seed3").mkdir()
    write(folder / "seed3")
    sae = load_sae(folder / "seed3")
    assert (sae.label, sae.hook) == ("layers.1.seed3", "layers.1")
    assert sae.trained_on.model == "tiny"


def test_a_run_without_settings_says_less(folder: Path) -> None:
    """Nothing is known of the model then."""
    (folder.parent / "config.json").unlink()
    assert load_sae(folder).trained_on.model is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"transcode": True}, "transcode set(?s:.*)predicts"),
        ({"skip_connection": True}, "skip_connection"),
        ({"embed_skip": True}, "embed_skip"),
        ({"gram_lookup": True}, "gram_lookup"),
        ({"signed": True}, "either sign"),
        ({"activation": "groupmax"}, "groupmax"),
        ({"k": None}, "k as None"),
        ({"k": 41}, "from 1 to 40"),
        ({"k": "5"}, "k as '5'"),
        ({"d_in": 13}, "d_in 13(?s:.*)d_in 12"),
    ],
)
def test_what_is_no_sparse_autoencoder_is_refused(
    folder: Path, other: dict[str, Any], message: str
) -> None:
    """Each with the setting that makes it so."""
    write(folder, **other)
    with pytest.raises(BitlensError, match=message):
        load_sae(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "cfg.json").write_text("{"), "not JSON"),
        (lambda f: (f / "cfg.json").write_text("[]"), "no settings"),
        (lambda f: (f / "cfg.json").unlink(), r"has no cfg\.json"),
        (lambda f: (f / "sae.safetensors").write_bytes(b"\x80\x04"), "not a whole safetensors"),
        (lambda f: (f.parent / "config.json").write_text('{"ctx_len": "x"}'), "ctx_len as 'x'"),
        (lambda f: save_file({"W_dec": PLAIN.w_dec}, f / "sae.safetensors"), "encoder.weight"),
    ],
)
def test_broken_files_are_refused(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    """With what is wrong."""
    spoil(folder)
    with pytest.raises(BitlensError, match=message):
        load_sae(folder)


@pytest.mark.against
def test_agrees_with_sparsify(tmp_path: Path) -> None:
    """Its own class writes the folder; the same latents at the same values, and the same
    reconstruction."""
    coder = pytest.importorskip("sparsify.sparse_coder", exc_type=ImportError)
    settings = coder.SparseCoderConfig(num_latents=40, k=5)
    theirs = coder.SparseCoder(12, settings)
    with torch.no_grad():
        theirs.encoder.weight.copy_(PLAIN.w_enc.T)
        theirs.encoder.bias.copy_(PLAIN.b_enc)
        theirs.W_dec.copy_(PLAIN.w_dec)
        theirs.b_dec.copy_(PLAIN.b_dec)
    theirs.save_to_disk(tmp_path / "h.1")
    x, ours = activations(), load_sae(tmp_path / "h.1")
    with torch.no_grad():
        own = theirs.encode(x)
        dense = torch.zeros(len(x), 40).scatter(1, own.top_indices, own.top_acts)
        torch.testing.assert_close(ours.encode(x), dense)
        decoded = theirs.decode(own.top_acts, own.top_indices)
        torch.testing.assert_close(ours.decode(ours.codes(x)), decoded)


def test_the_settings_of_the_run_are_in_its_own_folder(folder: Path, tmp_path: Path) -> None:
    """A link that leads out of it is refused."""
    file = folder.parent / "config.json"
    file.rename(tmp_path / "elsewhere.json")
    file.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BitlensError, match=r"config\.json beside layers\.1 leads to .*outside"):
        load_sae(folder)
