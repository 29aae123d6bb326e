"""torchao: ordinary modules whose weights are tensors of its own kinds."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.compression.checkpoints.checkpoint import (
    CheckpointRequest,
    ReadCheckpoint,
    Stored,
    library,
)
from bitlens.compression.checkpoints.pretrained import load_whole
from bitlens.compression.checkpoints.readers import reader
from bitlens.compression.checkpoints.stored import find


@reader("torchao", package="torchao", extra="torchao")
def read(request: CheckpointRequest) -> ReadCheckpoint:
    """The model with torchao's own products, which run on CPU and GPU."""
    library("torchao", "torchao", needed_for="A torchao checkpoint")
    trusted = request.source.trust_remote_code
    model = load_whole(request, trust_remote_code=trusted, dtype="auto")
    stored = find(request.reference.model, model, _held)
    kinds = {entry.format for entry in stored.values() if entry.format.startswith("torchao")}
    rounds = any(_rounds_inputs(getattr(m, "weight", None)) for m in model.modules())
    notes = ("Activations are rounded too, by torchao.",) if rounds else ()
    return ReadCheckpoint(
        format=" and ".join(sorted(kinds)) or "torchao",
        kernels=True,
        model=model,
        stored=stored,
        notes=notes,
    )


def _held(module: nn.Module) -> Stored | None:
    weight: Any = getattr(module, "weight", None)
    if not hasattr(weight, "dequantize") or not hasattr(weight, "qdata"):
        return None
    names, settings = weight.__tensor_flatten__()
    tensors = {name: getattr(weight, name) for name in names}
    kept = tensors.pop("qdata")
    dtype = settings.get("target_dtype", kept.dtype)
    # Small integers are kept one a byte where no kernel wants them packed.
    width = int(re.findall(r"\d+", str(dtype))[0])
    bits = width * weight.numel() + sum(8 * t.nbytes for t in tensors.values() if _is_held(t))
    group = int(weight.block_size[-1])
    return Stored(
        weight=lambda: weight.dequantize().float(),
        bits=bits / weight.numel(),
        format=f"torchao {str(dtype).removeprefix('torch.')}",
        group=0 if group == weight.shape[-1] else group,
    )


def _rounds_inputs(weight: Any) -> bool:
    return any(getattr(weight, n, None) for n in ("act_quant_kwargs", "activation_quantization"))


def _is_held(tensor: Any) -> bool:
    """Zero points of symmetric grids are all nought: nobody stores them."""
    return isinstance(tensor, Tensor) and bool(torch.count_nonzero(tensor))
