"""GPTQ and AWQ folders, as gptqmodel writes them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens.compression.checkpoints.gptq import unchanged
from bitlens.models.load import Loaded, load
from bitlens.models.source import ModelSource
from tests.support.checkpoints import FAMILIES, check_laws, logits, opened, weights
from tests.support.quantized_folders import rounded

pytestmark = pytest.mark.against
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
gptqmodel = pytest.importorskip("gptqmodel", reason="gptqmodel is absent (bitlens[gptq])")

Reference = Callable[[str], Loaded]
TEXTS = [f"{n} plus {n * 7} is {n * 8}, which is what a text may say; " * 2 for n in range(24)]


def quantized(folder: Path, out: Path, settings: Any, reference: Loaded, **more: Any) -> Path:
    with unchanged(type(reference.model).__module__):
        model = gptqmodel.GPTQModel.load(str(folder), settings, device="cpu", **more)
        model.quantize(TEXTS, tokenizer=reference.tokenizer, batch_size=1, **more)
        model.save(str(out))
    return out


@pytest.mark.parametrize("family", FAMILIES)
def test_gptq(
    reference: Reference, folder_of: Callable[[str], Path], family: str, tmp_path: Path
) -> None:
    """4 bits, with a scale of 16 and a zero of 4 for 32 weights; experts, which the library takes
    apart, in the reference's names. Modules that are built afterwards are transformers' own. On a
    CPU kernels run only if they are asked for; both readers have the same weights."""
    model = reference(family)
    settings = gptqmodel.QuantizeConfig(bits=4, group_size=32, offload_to_disk=False)
    path = quantized(folder_of(family), tmp_path / "gptq", settings, model)
    checkpoint = opened(path, model, "kernels")
    assert (checkpoint.format, checkpoint.kernels) == ("gptq 4 bits", True)
    check_laws(checkpoint, model, 4e-3)
    # Biases of packed matrices are float16 in its files.
    stored = {n: e for n, e in checkpoint.stored.items() if not n.endswith("bias")}
    found = {(e.format, e.bits, e.group) for e in stored.values()}
    assert found == {("gptq 4 bits", 4 + 20 / 32, 32), ("bfloat16", 16, 0)}
    if family == "qwen3_moe":
        assert checkpoint.stored["model.layers.0.mlp.experts.gate_up_proj"].bits == 4 + 20 / 32
    plain = opened(path, model)
    assert not plain.kernels
    assert "nobody deploys these kernels on CPUs" in plain.notes[0]
    assert type(plain.model.base_model) is type(model.model.base_model)
    theirs = weights(checkpoint)
    assert all(torch.equal(w, theirs[name]) for name, w in weights(plain).items())
    scale = logits(model.model).norm()
    assert (logits(plain.model) - logits(checkpoint.model)).norm() < 0.03 * scale


def test_awq(
    tiny_folder: Callable[..., Path], folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """As many keys as queries: the library's search for clips takes rows by 64."""
    folder = tiny_folder("llama", num_key_value_heads=4)
    model = load(ModelSource(str(folder)), 1 << 34)
    from gptqmodel.quantization.config import AWQConfig

    settings = AWQConfig(bits=4, group_size=32, offload_to_disk=False)
    backend = gptqmodel.BACKEND.AWQ_TORCH
    path = quantized(folder, tmp_path / "awq", settings, model, backend=backend)
    checkpoint = opened(path, model, "kernels")
    assert (checkpoint.format, checkpoint.kernels) == ("awq 4 bits", True)
    found = {(e.format, e.bits, e.group) for e in checkpoint.stored.values()}
    assert found == {("awq 4 bits", 4 + 20 / 32, 32), ("bfloat16", 16, 0)}
    plain = opened(path, model, "weights")
    scale = logits(checkpoint.model).norm()
    assert (logits(plain.model) - logits(checkpoint.model)).norm() < 0.03 * scale


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_spared_matrices_are_what_they_were(
    reference: Reference, folder_of: Callable[[str], Path], tmp_path: Path, method: str
) -> None:
    """Those that the settings spare, and one that only the files do; the library makes noughts of
    them. Everything else is codes times scales, exactly."""
    model = reference("llama")
    path, truth = rounded(
        folder_of("llama"),
        tmp_path / "spared",
        method,
        lambda name: "_proj" in name and "down_proj" not in name and "1.self_attn.q" not in name,
        modules_to_not_convert=["down_proj"],
    )
    for run in ("kernels", "weights"):
        checkpoint = opened(path, model, run)
        for name, entry in checkpoint.stored.items():
            assert torch.equal(entry.weight(), truth[name]), name
        spared = checkpoint.stored["model.layers.0.mlp.down_proj.weight"]
        assert (spared.format, spared.bits) == ("float32", 32)
        assert checkpoint.stored["model.layers.0.mlp.up_proj.weight"].format == f"{method} 4 bits"
    found = (logits(checkpoint.model) - logits(opened(path, model, "kernels").model)).norm()
    assert found < 0.03 * logits(model.model).norm()
