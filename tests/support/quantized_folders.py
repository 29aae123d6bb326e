"""Writes folders of quantized weights as their libraries do, and says what they stand for."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from safetensors.torch import load_file, save_file
from torch import Tensor

Rule = Callable[[str], tuple[int, int] | None]
"""Bits and group of the module of this name; None: it stays as it is."""


def words(codes: Tensor, bits: int) -> Tensor:
    """Rows of codes in 32-bit words, the first in the lowest bits."""
    per = 32 // bits
    shifted = codes.long().unflatten(-1, (-1, per)) << torch.arange(0, 32, bits)
    whole = shifted.sum(-1)
    return torch.where(whole >= 2**31, whole - 2**32, whole).int()


def packed(
    source: Path,
    path: Path,
    rule: Rule,
    groups: Sequence[tuple[list[str], int, int]],
    ignore: Sequence[str] = ("lm_head",),
    actorder: str | None = None,
    tensors: dict[str, Tensor] | None = None,
    **settings: Any,
) -> tuple[Path, dict[str, Tensor]]:
    """compressed-tensors, pack-quantized: the folder, and every weight as it is to be read.
    `groups`: targets, bits and group size."""
    state, truth = dict(tensors or {}), {}
    for name, weight in load_file(source / "model.safetensors").items():
        rounded = rule(name.removesuffix(".weight")) if weight.ndim == 2 else None
        state[name] = truth[name] = weight
        if rounded is None:
            continue
        bits, group = rounded
        half = 2 ** (bits - 1)
        grouped = weight.unflatten(1, (-1, group))
        scale = grouped.abs().amax(-1, keepdim=True) / (half - 0.5)
        codes = (grouped / scale).round().clamp(-half, half - 1)
        truth[name] = (codes * scale).flatten(1)
        del state[name]
        state[f"{name}_packed"] = words(codes.flatten(1) + half, bits)
        state[f"{name}_scale"] = scale[..., 0].contiguous()
        state[f"{name}_shape"] = torch.tensor(weight.shape)
    said = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": list(ignore),
        "config_groups": {
            f"group_{number}": {
                "targets": targets,
                "weights": {
                    "num_bits": bits,
                    "type": "int",
                    "symmetric": True,
                    "strategy": "group",
                    "group_size": group,
                    "actorder": actorder,
                },
            }
            for number, (targets, bits, group) in enumerate(groups)
        },
        **settings,
    }
    return folder(source, path, state, quantization_config=said), truth


def floats(source: Path, path: Path, form: str) -> Path:
    """compressed-tensors, NVFP4 or MXFP4 as the library fits and packs every matrix of a block."""
    whole = form.startswith("nvfp4")
    weights: dict[str, Any] = {
        "num_bits": 4,
        "type": "float",
        "strategy": "tensor_group" if whole else "group",
        "group_size": 16 if whole else 32,
        "symmetric": True,
    }
    fitted = QuantizationArgs(**weights, scale_dtype=torch.float8_e4m3fn if whole else torch.uint8)
    scheme = QuantizationScheme(targets=["Linear"], weights=fitted)
    compressor = BaseCompressor.get_value_from_registry(form)
    state: dict[str, Tensor] = {}
    for name, weight in load_file(source / "model.safetensors").items():
        if weight.ndim < 2 or "layers" not in name:
            state[name] = weight
            continue
        overall = generate_gparam(weight.amin(), weight.amax()) if whole else None
        groups = weight.unflatten(-1, (-1, weights["group_size"]))
        scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), fitted, overall)
        held = {"weight": weight, "weight_scale": scale}
        if overall is not None:
            held["weight_global_scale"] = overall
        for leaf, tensor in compressor.compress(held, scheme).items():
            if tensor is not None:
                state[f"{name.removesuffix('weight')}{leaf}"] = tensor
    said = {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "format": form}},
    }
    return folder(source, path, state, quantization_config=said)


def rounded(
    source: Path, path: Path, method: str, rule: Callable[[str], bool], **settings: Any
) -> tuple[Path, dict[str, Tensor]]:
    """GPTQ or AWQ of 4 bits in groups of 32, of the matrices that the rule takes: the folder, and
    every weight as it is to be read."""
    state, truth = {}, {}
    for name, weight in load_file(source / "model.safetensors").items():
        state[name] = truth[name] = weight
        if weight.ndim < 2 or not rule(name):
            continue
        grouped = weight.unflatten(1, (-1, 32))
        low, high = grouped.amin(-1, keepdim=True), grouped.amax(-1, keepdim=True)
        if method == "gptq":  # as symmetric as the library wants it
            high = torch.maximum(high, -low)
            low = -high
        scale = ((high - low) / 15).half()
        zero = torch.full_like(low, 8) if method == "gptq" else (-low / scale).round().clamp(0, 15)
        codes = (grouped / scale + zero).round().clamp(0, 15)
        truth[name] = ((codes - zero) * scale.float()).flatten(1)
        whole, zeros = codes.flatten(1).T.long(), zero[..., 0].T.long()
        held = {"scales": scale[..., 0].T.contiguous()}
        if method == "awq":
            held |= {"qweight": words(_shuffled(whole), 4), "qzeros": words(_shuffled(zeros), 4)}
        else:
            held |= {"qweight": words(whole.T, 4).T.contiguous(), "qzeros": words(zeros - 1, 4)}
            held |= {"g_idx": (torch.arange(weight.shape[1]) // 32).int()}
        del state[name]
        state |= {f"{name.removesuffix('weight')}{leaf}": tensor for leaf, tensor in held.items()}
    said = {"quant_method": method, "bits": 4, "group_size": 32, **settings}
    said |= (
        {"zero_point": True, "version": "gemm"}
        if method == "awq"
        else {"desc_act": False, "sym": True, "checkpoint_format": "gptq", "pack_dtype": "int32"}
    )
    return folder(source, path, state, quantization_config=said), truth


def _shuffled(codes: Tensor) -> Tensor:
    """Eight neighbours in AWQ's order."""
    return codes.unflatten(1, (-1, 8))[..., [0, 2, 4, 6, 1, 3, 5, 7]].flatten(1)


def folder(source: Path, path: Path, state: dict[str, Tensor], **settings: Any) -> Path:
    """A copy with other tensors, and with more in its config.json."""
    shutil.copytree(source, path)
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **settings}))
    return path
