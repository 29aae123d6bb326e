"""compressed-tensors: what llm-compressor writes, integers or floats of 4 to 8 bits."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor, nn
from transformers import CompressedTensorsConfig, PretrainedConfig

from bitlens.checkpoints.checkpoint import Found, Request, Stored, library
from bitlens.checkpoints.pretrained import folder, load_whole
from bitlens.checkpoints.stored import PARTS, find
from bitlens.errors import BitlensError

HELD = ("weight", "weight_packed", "weight_scale", "weight_zero_point", "weight_g_idx")
"""What is stored for a matrix; its shape is not counted."""


class Rounded(nn.Module):
    """A matrix whose inputs are rounded as the checkpoint says before they are multiplied."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, inputs: Tensor) -> Tensor:
        from compressed_tensors.quantization.lifecycle.forward import forward_quantize

        scheme: Any = self.linear.quantization_scheme
        rounded = forward_quantize(self.linear, inputs, "input", scheme.input_activations)
        return self.linear(rounded)


def read(request: Request) -> Found:
    """Weights are dequantized when loaded; where the checkpoint rounds activations too, they are
    rounded by the library's own code, unless weights alone are asked for."""
    library("compressed_tensors", "ct", needed_for="A compressed-tensors checkpoint")
    settings = _settings(request)
    rounds = request.run != "weights" and any(g.get("input_activations") for g in settings)
    arguments: dict[str, Any] = {
        "trust_remote_code": request.source.trust_remote_code,
        "dtype": "auto",
    }
    if not rounds:
        # Left compressed, asymmetric packed weights fail to load.
        arguments["quantization_config"] = CompressedTensorsConfig(dequantize=True)
    try:
        model = load_whole(request, **arguments)
    except BitlensError as error:
        raise BitlensError(
            error.found,
            "a compressed-tensors checkpoint that transformers reads. Some it does not: asymmetric"
            " integers or a GPT-NeoX whose activations are rounded too; integers beside experts"
            " that were left alone.",
            f"checkpoint:{request.source.name},run=weights, or the model quantized another way.",
        ) from error
    if rounds:
        model.hf_quantizer.compressor.decompress_model(model)
    described = _described(request, find(request.reference.model, model), settings)
    label = f"compressed-tensors {_label(settings)}"
    if rounds:
        _round_inputs(model)
        note = "Activations are rounded by compressed-tensors' own code, in ordinary numbers."
    else:
        note = f"{label}: dequantized weights in ordinary matrices."
    return Found(label, rounds, model, described, (note,))


def _settings(request: Request) -> list[dict[str, Any]]:
    config, _ = PretrainedConfig.get_config_dict(
        request.source.name, revision=request.source.revision
    )
    return list(config["quantization_config"].get("config_groups", {}).values())


def _label(settings: list[dict[str, Any]]) -> str:
    names = []
    for group in settings:
        weights, inputs = group["weights"], group.get("input_activations")
        name = f"{weights['type']}{weights['num_bits']}"
        names.append(
            f"{name}, activations {inputs['type']}{inputs['num_bits']}" if inputs else name
        )
    return " and ".join(sorted(set(names)))


def _round_inputs(model: nn.Module) -> None:
    """In place of the methods that the library hangs on its modules, which copies lose."""
    for path, module in list(model.named_modules()):
        if hasattr(module, "quantization_scheme"):
            vars(module).pop("forward", None)
            if module.quantization_scheme.input_activations:
                model.set_submodule(path, Rounded(module).eval())


def _described(
    request: Request, stored: Mapping[str, Stored], settings: list[dict[str, Any]]
) -> dict[str, Stored]:
    """With what the files hold for each matrix."""
    held: dict[str, float] = {}
    packed = set()
    for module, leaf, bits in _sizes(folder(request)):
        held[module] = held.get(module, 0) + bits
        if leaf != "weight":
            packed.add(module)
    groups = {int(group["weights"].get("group_size") or 0) for group in settings}
    described = {}
    for name, entry in stored.items():
        path, _, leaf = name.rpartition(".")
        modules = [path] if leaf == "weight" else []
        if leaf in PARTS:
            ends = "|".join(PARTS[leaf])
            modules = [m for m in held if re.fullmatch(rf"{re.escape(path)}\.\d+\.({ends})", m)]
        if packed.intersection(modules):
            entry = replace(
                entry,
                bits=sum(held[m] for m in modules) / entry.weight().numel(),
                format=_label(settings),
                group=max(groups) if len(groups) == 1 else 0,
            )
        described[name] = entry
    return described


def _sizes(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Module, tensor and bits of everything that is held for a matrix."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():
                module, _, leaf = name.rpartition(".")
                if leaf in HELD:
                    part = tensors.get_slice(name)
                    width = int(re.findall(r"\d+", part.get_dtype())[0])
                    yield module, leaf, width * math.prod(part.get_shape())
