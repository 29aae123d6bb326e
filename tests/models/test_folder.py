"""Folders that only look like a model, and codes that nobody announced."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bitlens.errors import BitlensError
from bitlens.models.folder import require_announced
from bitlens.models.load import load
from bitlens.models.source import ModelSource

NAME = "model.layers.1.mlp.down_proj"


@pytest.fixture
def copied(llama: Path, tmp_path: Path) -> Callable[..., Path]:
    """The tiny model with more or other tensors."""

    def make(**tensors: torch.Tensor) -> Path:
        path = shutil.copytree(llama, tmp_path / "copied")
        state = load_file(path / "model.safetensors")
        state |= {f"{NAME}.{leaf}": tensor for leaf, tensor in tensors.items()}
        save_file(state, path / "model.safetensors", metadata={"format": "pt"})
        return path

    return make


def refused(path: Path) -> BitlensError:
    with pytest.raises(BitlensError) as error:
        load(ModelSource(str(path)), 1 << 34)
    return error.value


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_codes_of_eight_bits_are_no_weights(
    copied: Callable[..., Path], dtype: torch.dtype
) -> None:
    """Even without a scale beside them."""
    found = refused(copied(weight=torch.ones(64, 128).to(dtype))).found
    assert f"{NAME}.weight is stored as" in found


@pytest.mark.parametrize(
    "leaf", ["weight_scale", "weight_scale_inv", "input_scale", "qweight", "scales", "W_q", "SCB"]
)
def test_left_over_scales_say_that_there_are_codes(copied: Callable[..., Path], leaf: str) -> None:
    """Whatever the dtype of the weights."""
    assert (
        f"{NAME}.{leaf} is no weight of a model" in refused(copied(**{leaf: torch.ones(4)})).found
    )


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("hf_quant_config.json", {"quantization": {"quant_algo": "NVFP4"}}, "quant_algo NVFP4"),
        ("hf_quant_config.json", {"quantization": {"kv_cache_quant_algo": "FP8"}}, "algo FP8"),
        ("quantize_config.json", {"bits": 4, "group_size": 32}, "bits 4"),
        ("quant_config.json", {"w_bit": 4, "q_group_size": 128}, "w_bit 4"),
    ],
)
def test_a_file_beside_the_weights_is_enough(
    copied: Callable[..., Path], file: str, content: dict[str, Any], said: str
) -> None:
    path = copied()
    (path / file).write_text(json.dumps(content))
    error = refused(path)
    assert file in error.found
    assert said in error.found
    if file == "quantize_config.json":
        assert '"quantization_config": {"quant_method": "gptq", "bits": 4' in error.remedy


@pytest.mark.parametrize("key", ["compression_config", "quantization"])
def test_another_key_of_config_json_is_enough(copied: Callable[..., Path], key: str) -> None:
    path = copied()
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, key: {"bits": 4}}))
    assert f"config.json has {key!r}" in refused(path).found


def test_ordinary_folders_pass(copied: Callable[..., Path]) -> None:
    """Saved causal masks and a side file that says that nothing is quantized among them."""
    path = copied(bias=torch.ones(1, 1, 8, 8, dtype=torch.uint8), flag=torch.ones(3).bool())
    nothing = {"quantization": {"quant_algo": None, "kv_cache_quant_algo": None}}
    (path / "hf_quant_config.json").write_text(json.dumps(nothing))
    require_announced("copied", path)


@pytest.mark.parametrize("with_weights", [False, True])
def test_an_adapter_is_no_model(copied: Callable[..., Path], with_weights: bool) -> None:
    """Nor is it left out in silence where the weights of a model stand beside it."""
    path = copied()
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "org/base"}
    (path / "adapter_config.json").write_text(json.dumps(adapter))
    if not with_weights:
        (path / "model.safetensors").rename(path / "adapter_model.safetensors")
        (path / "config.json").unlink()
    error = refused(path)
    assert "an adapter (LoRA of org/base)" in error.found
    assert "merge_and_unload" in error.remedy


@pytest.mark.parametrize("with_main", [False, True])
def test_a_folder_of_the_hub_s_cache_points_to_its_snapshot(
    llama: Path, tmp_path: Path, with_main: bool
) -> None:
    """The one that `main` is, where that is known; what is pointed to can be read."""
    folder = tmp_path / "models--org--tiny"
    for name in ("0a", "1b"):
        shutil.copytree(llama, folder / "snapshots" / name)
    if with_main:
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0a")
    error = refused(folder)
    assert error.remedy == str(folder / "snapshots" / ("0a" if with_main else "1b"))
    assert load(ModelSource(error.remedy), 1 << 34).tokenizer is not None
