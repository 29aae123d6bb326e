"""Gemma Scope's arrays are read as JumpReLU SAEs of the place that their folders name."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitlens.errors import BitlensError
from bitlens.sae.formats.load import load_sae
from tests.support.gemma_scope import ARRAYS, PLAIN, write
from tests.support.saes import activations

NAMED = Path("layer_12/width_16k/average_l0_82")


def test_codes_are_those_of_a_jumprelu(tmp_path: Path) -> None:
    """Nothing subtracted; z where it is above its threshold. The file may be named itself."""
    folder = write(tmp_path / "gemma-scope-2b-pt-res" / NAMED)
    sae, x = load_sae(folder), activations()
    before = x @ PLAIN.w_enc + PLAIN.b_enc
    expected = before.relu() * (before > ARRAYS["threshold"])
    assert 0 < (expected > 0).double().mean() < 0.9
    torch.testing.assert_close(sae.encode(x), expected)
    torch.testing.assert_close(
        sae.decode(sae.codes(x)), expected @ PLAIN.w_dec + PLAIN.b_dec, atol=1e-5, rtol=1e-5
    )
    assert sae.label == "layer_12.width_16k.average_l0_82"
    assert sae.published.l0 == 82
    assert (sae.hook, sae.architecture) == ("blocks.12.hook_resid_post", "jumprelu")
    assert (sae.trained_on.model, sae.trained_on.prepend_bos) == ("gemma-2-2b", True)
    assert load_sae(folder / "params.npz").fingerprint == sae.fingerprint


@pytest.mark.parametrize(
    ("path", "hook", "model"),
    [
        ("here", "blocks.12.hook_resid_post", None),
        ("models--google--gemma-scope-9b-pt-mlp/1f", "blocks.12.hook_mlp_out", "gemma-2-9b"),
        ("gemma-scope-9b-it-res", "blocks.12.hook_resid_post", "gemma-2-9b-it"),
    ],
)
def test_the_place_is_read_off_the_path(
    path: str, hook: str, model: str | None, tmp_path: Path
) -> None:
    """Of a plain folder, of the hub's cache, of a repository's copy."""
    sae = load_sae(write(tmp_path / path / NAMED))
    assert (sae.hook, sae.trained_on.model) == (hook, model)


def test_the_embedding_is_read_as_blocks_get_it(tmp_path: Path) -> None:
    """It was trained on embeddings before they are multiplied by the root of the width."""
    sae = load_sae(write(tmp_path / "embedding/width_4k/average_l0_6"))
    assert sae.hook == "hook_embed"
    x, root = activations(), 12**0.5
    codes = PLAIN.encode(x)
    torch.testing.assert_close(sae.encode(root * x), codes, atol=1e-5, rtol=1e-5)
    expected = root * (codes @ PLAIN.w_dec + PLAIN.b_dec)
    torch.testing.assert_close(sae.decode(sae.codes(root * x)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gemma-scope-2b-pt-att/layer_12/width_16k/average_l0_82", "'?att(?s:.*)side by side"),
        ("gemma-scope-2b-pt-transcoders/layer_12/width_16k/average_l0_82", "predicts another"),
        ("twelve/width_16k/average_l0_82", "does not say where"),
        ("somewhere", "layer_12/width_16k"),
    ],
)
def test_places_that_cannot_be_read_are_refused(path: str, message: str, tmp_path: Path) -> None:
    """With why, and how folders are called."""
    with pytest.raises(BitlensError, match=message):
        load_sae(write(tmp_path / path))


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    """An array of objects is a pickle."""
    folder = write(tmp_path / NAMED, b_enc=np.array([object()] * 40, dtype=object))
    with pytest.raises(BitlensError, match="cannot be read as arrays"):
        load_sae(folder)


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nonsense", _npy()])
def test_broken_files_are_refused(content: bytes, tmp_path: Path) -> None:
    """Empty, cut short, something else, a single array."""
    folder = write(tmp_path / NAMED)
    (folder / "params.npz").write_bytes(content)
    with pytest.raises(BitlensError, match="cannot be read as arrays"):
        load_sae(folder)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"W_enc": PLAIN.w_enc.T}, r"W_enc has shape \[40, 12\]"),
        ({"threshold": torch.zeros(())}, r"threshold of shape \[40\]"),
        ({"b_enc": np.full(40, np.nan)}, "40 values that are not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    other: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """With the shape they should have."""
    with pytest.raises(BitlensError, match=message):
        load_sae(write(tmp_path / NAMED, **other))


def test_an_array_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """By its name: numpy would take the last."""
    folder = write(tmp_path / "layer_1/width_16k/average_l0_5")
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(folder / "params.npz", "a") as archive,
    ):
        archive.writestr("b_enc.npy", archive.read("b_dec.npy"))
    with pytest.raises(BitlensError, match="b_enc is in it twice"):
        load_sae(folder)
