"""ModelOpt: 8-bit floats, each matrix with a scale, each of its inputs with another."""

from pathlib import Path
from typing import Any

import torch

from bitlens.compression.checkpoints.checkpoint import (
    CheckpointRequest,
    ReadCheckpoint,
    ordinary,
    quantization,
)
from bitlens.compression.checkpoints.held import Held, is_coded
from bitlens.compression.checkpoints.pretrained import folder, load_whole
from bitlens.compression.checkpoints.readers import reader
from bitlens.compression.checkpoints.stored import as_held, find
from bitlens.errors import ModelError
from bitlens.results.files.reading import read_json

SIDE_FILE = "hf_quant_config.json"
"""Where older exports say it, and config.json nothing."""


def is_own(path: Path) -> bool:
    """Did ModelOpt write this folder?"""
    return bool(_side(path).get("quant_algo"))


@reader("modelopt", is_own=is_own)
def read(request: CheckpointRequest) -> ReadCheckpoint:
    """Weights times their scales, in ordinary matrices. ModelError for formats other than FP8."""
    path = folder(request)
    settings = {**_side(path), **quantization(request.config)}
    algorithm = settings.get("quant_algo")
    if algorithm != "FP8":
        raise ModelError(
            f"{request.source.name} is quantized by ModelOpt as {algorithm}.",
            "FP8, which is what is read of ModelOpt's formats.",
            "the model quantized another way; docs/compressions.md has the formats that are read.",
        )
    held = Held(path)
    state = {}
    for module, leaves in held.modules.items():
        for name, leaf in leaves.items():
            if leaf.dtype == "F8_E4M3" and f"{name}_scale" in leaves:
                scale = leaves[f"{name}_scale"].read().float()
                rows = scale.unsqueeze(-1) if scale.ndim == 1 and scale.numel() > 1 else scale
                state[f"{module}.{name}"] = leaf.read().float() * rows
            elif name == "weight" or "scale" not in name:
                state[f"{module}.{name}"] = leaf.read().float()
    reference = request.reference.model
    model = load_whole(
        request,
        type(reference),
        name=None,
        config=ordinary(request.config),
        state_dict=state,
        dtype=torch.float32,
    )
    stored = as_held(
        find(reference, model),
        held,
        reference.base_model_prefix,
        lambda _module: {"format": "modelopt fp8"},
    )
    return ReadCheckpoint(
        format="modelopt fp8",
        kernels=False,
        model=model,
        stored=stored,
        notes=("modelopt fp8: dequantized weights in ordinary matrices.",),
        left_out=tuple(_left_out(settings, held)),
    )


def _left_out(settings: dict[str, Any], held: Held) -> list[str]:
    coded = [leaves for leaves in held.modules.values() if is_coded(leaves)]
    found = []
    if any("input_scale" in leaves for leaves in coded):
        found.append("the inputs of its matrices are rounded to 8 bits (input_scale)")
    cache = settings.get("kv_cache_quant_algo") or settings.get("kv_cache_scheme")
    if cache:
        found.append(f"keys and values are kept in 8 bits ({cache})")
    return found


def _side(path: Path) -> dict[str, Any]:
    file = path / SIDE_FILE
    found = read_json(file) if file.exists() else {}
    return dict(found.get("quantization") or {}) if isinstance(found, dict) else {}
