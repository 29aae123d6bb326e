"""compressed-tensors, on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationConfig,
    QuantizationScheme,
    QuantizationStatus,
    apply_quantization_config,
)
from compressed_tensors.quantization.utils import calculate_qparams
from transformers import AutoModelForCausalLM

from bitlens.compress import coverage
from bitlens.errors import BitlensError
from bitlens.models.load import Loaded
from checkpoints.conftest import check_laws, logits, opened, rows, weights

GROUPS = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}
ROWS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
TOKENS = {**ROWS, "strategy": "token", "dynamic": True}
SCHEMES: dict[str, dict[str, Any]] = {
    "int4": {"weights": {**GROUPS, "symmetric": True}},
    "asymmetric": {"weights": {**GROUPS, "symmetric": False}},
    "int8": {"weights": ROWS, "input_activations": TOKENS},
    "float8": {
        "weights": {**ROWS, "type": "float"},
        "input_activations": {**TOKENS, "type": "float"},
    },
}
Reference = Callable[[str], Loaded]
Made = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def made(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A folder in the library's format, rounded to nearest."""
    root = tmp_path_factory.mktemp("compressed")

    def make(family: str, kind: str) -> Path:
        path = root / f"{family}-{kind}"
        if not path.exists():
            model = AutoModelForCausalLM.from_pretrained(folder_of(family))
            scheme = QuantizationScheme(targets=["Linear"], **SCHEMES[kind])
            settings = QuantizationConfig(config_groups={"a": scheme}, ignore=["lm_head"])
            apply_quantization_config(model, settings)
            for module in model.modules():
                if hasattr(module, "quantization_scheme"):
                    fit(module)
            compressor = ModelCompressor.from_pretrained_model(model)
            compressor.compress_model(model)
            model.save_pretrained(path)
            compressor.update_config(str(path))
        return path

    return make


@torch.no_grad()
def fit(module: Any) -> None:
    """Scales and zeros from the least and the largest weight of each group."""
    arguments = module.quantization_scheme.weights
    groups = module.weight.unflatten(1, (-1, arguments.group_size or module.weight.shape[1]))
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), arguments)
    module.weight_scale.copy_(scale)
    if hasattr(module, "weight_zero_point"):
        module.weight_zero_point.copy_(zero)
    module.quantization_status = QuantizationStatus.FROZEN


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
@pytest.mark.parametrize(("kind", "bits"), [("int4", 4 + 32 / 32), ("asymmetric", 4 + 36 / 32)])
def test_weights_alone(
    reference: Reference, made: Made, family: str, kind: str, bits: float
) -> None:
    """Ordinary matrices; scales here are float32, zeros 4 bits. transformers' ordinary way to
    load does not read asymmetric ones."""
    model = reference(family)
    checkpoint = opened(made(family, kind), model)
    assert (checkpoint.format, checkpoint.kernels) == ("compressed-tensors int4", False)
    assert checkpoint.notes[0].endswith("dequantized weights in ordinary matrices.")
    check_laws(checkpoint, model, 1e-6)
    found = {(e.format, e.bits, e.group) for e in checkpoint.stored.values()}
    assert found == {("int4", bits, 32), ("float32", 32, 0)}


@pytest.mark.parametrize("kind", ["int8", "float8"])
def test_activations_too(reference: Reference, made: Made, kind: str) -> None:
    """They are rounded where the checkpoint is run as it is, and not where weights are asked
    for; the weights are the same."""
    model = reference("llama")
    whole, plain = (opened(made("llama", kind), model, run) for run in ("auto", "weights"))
    assert whole.format == f"compressed-tensors {kind}, activations {kind}"
    assert (whole.kernels, plain.kernels) == (True, False)
    check_laws(whole, model, 1e-2)
    check_laws(plain, model, 1e-6)
    ours, theirs = weights(whole), weights(plain)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-7) for name in ours)
    assert not torch.allclose(logits(whole.model), logits(plain.model), atol=1e-3)
    entry = whole.stored["model.layers.0.mlp.up_proj.weight"]
    assert (entry.bits, entry.group) == (8 + 32 / 64, 0)


def test_a_scale_made_up_at_random_is_refused(reference: Reference, made: Made) -> None:
    """The library writes GPT-NeoX's unembedding under another name, and then rounds it too;
    weights alone are read."""
    model = reference("gpt_neox")
    with pytest.raises(BitlensError, match=r"no weights for lm_head\.weight_scale") as error:
        opened(made("gpt_neox", "int8"), model)
    assert "run=weights" in error.value.remedy
    check_laws(opened(made("gpt_neox", "int8"), model, "weights"), model, 1e-6)


def test_activations_are_rounded_by_hand(reference: Reference, made: Made) -> None:
    """One token's inputs to multiples of a 127.5th of the largest, halves to even."""
    checkpoint = opened(made("llama", "int8"), reference("llama"))
    name = "model.layers.0.self_attn.q_proj"
    inputs = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    scale = inputs.abs().amax(-1, keepdim=True) / 127.5
    rounded = (inputs / scale).round().clamp(-128, 127) * scale
    expected = rounded @ checkpoint.stored[f"{name}.weight"].weight().T
    assert torch.allclose(
        checkpoint.model.get_submodule(name)(inputs[None])[0], expected, atol=1e-5
    )


def test_it_is_what_the_library_computes(reference: Reference, made: Made) -> None:
    """Its own forward, with the methods that it hangs on modules, gives the same logits."""
    path = made("llama", "int8")
    theirs = AutoModelForCausalLM.from_pretrained(path, device_map="cpu").eval()
    ours = opened(path, reference("llama"))
    assert torch.allclose(logits(ours.model), logits(theirs), atol=1e-5)


def test_gpt2_is_passed_over_and_found_out(reference: Reference, made: Made) -> None:
    """The library takes nn.Linear alone, and says nothing; the table does."""
    checkpoint = opened(made("gpt2", "int4"), reference("gpt2"))
    with pytest.raises(BitlensError, match="nothing was compressed"):
        coverage.require_change(rows(checkpoint, reference("gpt2")), False)


def test_experts(reference: Reference, made: Made) -> None:
    """Floats beside experts that were left alone are read; integers are not, and that is said."""
    model = reference("qwen3_moe")
    checkpoint = opened(made("qwen3_moe", "float8"), model)
    formats = {n: e.format for n, e in checkpoint.stored.items()}
    assert formats["model.layers.0.self_attn.q_proj.weight"].startswith("float8")
    assert formats["model.layers.0.mlp.experts.down_proj"] == "float32"
    with pytest.raises(BitlensError, match="beside experts that were left alone"):
        opened(made("qwen3_moe", "int4"), model)
