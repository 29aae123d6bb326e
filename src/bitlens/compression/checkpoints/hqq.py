"""HQQ, from safetensors: matrices on a half-quadratic grid, without data."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from bitlens.compression.checkpoints.checkpoint import (
    CheckpointRequest,
    ReadCheckpoint,
    Stored,
    library,
    ordinary,
)
from bitlens.compression.checkpoints.pretrained import folder, load_whole
from bitlens.compression.checkpoints.readers import reader
from bitlens.compression.checkpoints.stored import Quantized, bits_per_weight, find
from bitlens.errors import ModelError
from bitlens.models.explained import guarded
from bitlens.models.files import require_once

PACKED = "W_q"
"""The tensor that every quantized module has, and no other."""


def is_own(path: Path) -> bool:
    """Did hqq itself write this folder? Its config.json does not say so."""
    return (path / "qmodel.pt").is_file() or any(
        name.endswith(f".{PACKED}") for file in path.glob("*.safetensors") for name in _names(file)
    )


@reader("hqq", package="hqq", extra="hqq", is_own=is_own)
def read(request: CheckpointRequest) -> ReadCheckpoint:
    """The reference's architecture with hqq's modules where the files have packed weights.
    ModelError where none has."""
    files = _files(request)
    linear = library("hqq.core.quantize", "hqq", needed_for="An HQQ checkpoint").HQQLinear
    reference = request.reference.model
    own: dict[str, dict[str, Tensor]] = {}
    for name, tensor in guarded(request.source, lambda: list(_tensors(files, request.device))):
        module, _, leaf = name.rpartition(".")
        own.setdefault(module, {})[leaf] = tensor
    modules = {
        module: _module(request, linear, tensors)
        for module, tensors in own.items()
        if PACKED in tensors
    }
    if not modules:
        raise ModelError(
            f"{request.source.name} is said to be HQQ, but none of its weights is packed.",
            "tensors called W_q, scale and zero.",
            "quantize it again: hqq passes over modules that are not nn.Linear without a word.",
        )
    state = {
        f"{module}.{leaf}": tensor
        for module, tensors in own.items()
        if module not in modules
        for leaf, tensor in tensors.items()
    }
    state |= {f"{name}.weight": made.dequantize() for name, made in modules.items()}
    state |= {f"{name}.bias": m.bias for name, m in modules.items() if m.bias is not None}
    model = load_whole(
        request,
        type(reference),
        name=None,
        config=ordinary(request.config),
        state_dict=state,
        dtype=next(iter(modules.values())).compute_dtype,
    )
    for name, made in modules.items():
        model.set_submodule(name, made)
    bits = sorted({made.meta["nbits"] for made in modules.values()})
    return ReadCheckpoint(
        format=f"hqq {' and '.join(f'{n:g}' for n in bits)} bits",
        kernels=True,
        model=model.eval(),
        stored=find(reference, model, _held(linear)),
    )


def _files(request: CheckpointRequest) -> list[Path]:
    """The files of the folder that are read. BitlensError where its weights are a pickle only."""
    files = sorted(folder(request).glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"{request.source.name} has its HQQ weights as a pickle (qmodel.pt) only.",
            "safetensors: unpickling runs whatever code is in the file.",
            "load it where you trust it and write it again with"
            " AutoHQQHFModel.save_to_safetensors(model, folder).",
        )
    require_once(request.source.name, files)
    return files


def _module(request: CheckpointRequest, linear: Any, tensors: dict[str, Tensor]) -> Any:
    """A module of hqq's own with these tensors."""
    made = linear(None, None, compute_dtype=tensors["scale"].dtype, device=str(request.device))
    guarded(request.source, lambda: made.load_state_dict(tensors))
    return made


def _held(linear: Any) -> Quantized:
    def quantized(module: nn.Module) -> Stored | None:
        if not isinstance(module, linear):
            return None
        made: Any = module
        scales = [made.meta.get("scale"), made.meta.get("zero")]
        return Stored(
            weight=lambda: made.dequantize().float(),
            bits=bits_per_weight([made.W_q, *scales], math.prod(made.meta["shape"])),
            format=f"hqq {made.meta['nbits']:g} bits",
            group=int(made.meta["group_size"] or 0) if made.meta["axis"] == 1 else 0,
        )

    return quantized


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as tensors:
        return list(tensors.keys())


def _tensors(files: list[Path], device: torch.device) -> Iterator[tuple[str, Tensor]]:
    for file in files:
        with safe_open(file, framework="pt", device=str(device)) as tensors:
            for name in tensors.keys():  # noqa: SIM118 (a file of safetensors is no mapping)
                yield name, tensors.get_tensor(name)
