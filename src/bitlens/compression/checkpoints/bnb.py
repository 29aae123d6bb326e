"""bitsandbytes: LLM.int8, and 4 bits as nf4 or fp4."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.compression.checkpoints.checkpoint import (
    CheckpointRequest,
    ReadCheckpoint,
    Stored,
    library,
    quantization,
)
from bitlens.compression.checkpoints.pretrained import load_whole
from bitlens.compression.checkpoints.readers import reader
from bitlens.compression.checkpoints.stored import Quantized, bits_per_weight, find


@reader(
    *("bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit"),
    package="bitsandbytes",
    extra="bnb",
)
def read(request: CheckpointRequest) -> ReadCheckpoint:
    """The model with bitsandbytes' own modules, which run on CPU and GPU."""
    bnb = library("bitsandbytes", "bnb", needed_for="A bitsandbytes checkpoint")
    model = load_whole(request, trust_remote_code=request.source.trust_remote_code, dtype="auto")
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            # At the first forward it would repack the weight in place for such CPUs: what is
            # dequantized after that is garbage, and the product goes through bfloat16.
            module.support_avx512bf16_for_cpu = False
    settings = quantization(model.config)
    stored = find(request.reference.model, model, _held(bnb))
    if settings.get("load_in_4bit"):
        kind = f"bitsandbytes {settings['bnb_4bit_quant_type']}"
        return ReadCheckpoint(
            format=kind, kernels=True, model=model, stored=stored, wrong=_miscomputed(bnb, model)
        )
    threshold = settings.get("llm_int8_threshold", 6.0)
    spared = (
        f"Input columns in which something in a window reaches {threshold:g} are multiplied in 16"
        " bits"
        if threshold > 0
        else "Its threshold is 0: all input columns are rounded to 8 bits, outliers too"
    )
    note = f"{spared}; inputs are made float16 first."
    # It would say so at every product.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear8bitLt):
            module.forward = partial(_row_by_row, module.forward)
    return ReadCheckpoint(
        format="bitsandbytes int8",
        kernels=True,
        model=model,
        stored=stored,
        notes=(note,),
        padding_matters=True,
        arithmetic=torch.float16,
    )


def _row_by_row(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Each window a call of its own: outlier columns are those of everything in a call, so what
    else is in the batch would change what is computed."""
    return torch.cat([forward(row[None]) for row in x]) if x.ndim == 3 else forward(x)


def _held(bnb: Any) -> Quantized:
    def quantized(module: nn.Module) -> Stored | None:
        if isinstance(module, bnb.nn.Linear4bit):
            return _four_bits(bnb, module)
        if isinstance(module, bnb.nn.Linear8bitLt):
            return _eight_bits(bnb, module)
        return None

    return quantized


def _four_bits(bnb: Any, module: Any) -> Stored:
    state = module.weight.quant_state
    nested = [state.state2.absmax, state.offset] if state.nested else []
    return Stored(
        weight=lambda: _dequantized(bnb, module),
        bits=bits_per_weight([module.weight.data, state.absmax, *nested], state.shape.numel()),
        format=state.quant_type,
        group=state.blocksize,
        note="scales quantized to 8 bits" if state.nested else "",
    )


def _dequantized(bnb: Any, module: Any) -> Tensor:
    """Codes by their scales, blocks running on from row to row: two codes a byte, the higher half
    first. The library's own way is not used: see `_miscomputed`."""
    state, packed = module.weight.quant_state, module.weight.data.view(torch.uint8).flatten()
    scales = state.absmax
    if state.nested:
        scales = bnb.functional.dequantize_blockwise(scales, state.state2) + state.offset
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[: state.shape.numel()]
    values = state.code.float()[codes.int()].reshape(state.shape)
    each = scales.float().repeat_interleave(state.blocksize)[: values.numel()]
    weights: Tensor = (values * each.reshape(state.shape)).to(state.dtype).float()
    return weights


def _miscomputed(bnb: Any, model: nn.Module) -> str:
    """On CPUs, matrices whose rows are no whole number of blocks come out wrong (0.50.2); looked
    for in one matrix of every shape."""
    shapes: dict[Any, nn.Module] = {}
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            shapes.setdefault(tuple(module.weight.quant_state.shape), module)
    for shape, made in shapes.items():
        weight: Any = made.weight
        theirs = bnb.functional.dequantize_4bit(weight.data, weight.quant_state).float()
        ours = _dequantized(bnb, made)
        error = float((theirs - ours).norm() / ours.norm())
        if error > 0.01:
            return (
                f"bitsandbytes {bnb.__version__} dequantizes matrices of shape {list(shape)}"
                f" wrongly on this device, by {error:.0%} of their size"
            )
    return ""


def _eight_bits(bnb: Any, module: Any) -> Stored:
    def scales() -> Any:
        # The first forward moves them from the weight to the module's state.
        own = getattr(module.weight, "SCB", None)
        return module.state.SCB if own is None else own

    weight = module.weight.data if module.state.CB is None else module.state.CB
    return Stored(
        weight=lambda: bnb.functional.int8_vectorwise_dequant(
            weight, scales().to(weight.device)
        ).float(),
        bits=bits_per_weight([weight, scales()], weight.numel()),
        format="int8",
    )
