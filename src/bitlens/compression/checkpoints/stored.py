"""What a checkpoint holds of each parameter of the reference, by the name it has there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from bitlens.compression.checkpoints.checkpoint import Stored
from bitlens.compression.checkpoints.held import DTYPES, PARTS, Held, bits, is_coded
from bitlens.errors import ModelError

Quantized = Callable[[nn.Module], Stored | None]
"""What a quantized module holds, its weight as `[out, in]`; None of any other module."""


def ordinary(_: nn.Module) -> None:
    """None: in these checkpoints no module is quantized."""


def find(
    reference: nn.Module, model: nn.Module, quantized: Quantized = ordinary
) -> dict[str, Stored]:
    """What a checkpoint holds, by the reference's parameter names.

    Libraries store `[out, in]` where GPT-2 stores `[in, out]`, and take fused experts apart.
    ModelError for a parameter that it does not hold."""
    stored = {}
    for name, parameter in reference.named_parameters(remove_duplicate=False):
        path, _, leaf = name.rpartition(".")
        found = _at(model, path, leaf, quantized)
        if found is None and leaf in PARTS:
            found = _stacked(model, path, leaf, experts=len(parameter), quantized=quantized)
        if found is None:
            raise ModelError(
                f"The checkpoint has no {name}.",
                "a weight for every weight of the reference.",
                "a checkpoint that was made of this reference.",
            )
        module = reference.get_submodule(path)
        turned = isinstance(module, Conv1D) and isinstance(_module(model, path), nn.Module)
        if turned and leaf == "weight" and quantized(model.get_submodule(path)) is not None:
            found = _transposed(found)
        stored[name] = found
    return stored


def as_held(
    stored: Mapping[str, Stored], held: Held, prefix: str, describe: Callable[[str], dict[str, Any]]
) -> dict[str, Stored]:
    """Entries with what the files hold: the bits of each, the dtype of what is not quantized, and
    of what is quantized what `describe` says of its module (format, group, note)."""
    made = {}
    for name, entry in stored.items():
        parts = held.of(name, prefix)
        if parts and any(map(is_coded, parts)):
            whole = sum(map(bits, parts)) / entry.weight().numel()
            module = next(iter(parts[0].values())).name.rpartition(".")[0]
            entry = replace(entry, bits=whole, **describe(module))
        elif parts:
            (leaf,) = parts[0].values()
            entry = replace(entry, bits=float(leaf.width), format=DTYPES[leaf.dtype])
        made[name] = entry
    return made


def plain(parameter: Tensor) -> Stored:
    """A parameter that is not quantized."""
    dtype = str(parameter.dtype).removeprefix("torch.")
    return Stored(
        weight=lambda: parameter.detach().float(), bits=8.0 * parameter.dtype.itemsize, format=dtype
    )


def bits_per_weight(tensors: Sequence[Tensor | None], weights: int) -> float:
    """Bits per weight of what these tensors take in memory."""
    return 8 * sum(t.numel() * t.element_size() for t in tensors if t is not None) / weights


def dequantized(
    cls: type[PreTrainedModel],
    config: PreTrainedConfig,
    stored: Mapping[str, Stored],
    dtype: torch.dtype,
    device: torch.device,
) -> PreTrainedModel:
    """The reference's architecture with what a checkpoint stands for in ordinary matrices."""
    state = {name: entry.weight().to(dtype).contiguous() for name, entry in stored.items()}
    model: Any = cls.from_pretrained(
        None,
        config=config,
        state_dict=state,
        dtype=dtype,
        attn_implementation=config._attn_implementation,
    )
    frozen: PreTrainedModel = model.to(device).eval().requires_grad_(requires_grad=False)
    return frozen


def restored(model: nn.Module, stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """Entries that are read from a model that holds the dequantized weights."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return {n: replace(s, weight=plain(parameters[n]).weight) for n, s in stored.items()}


def _module(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


def _at(model: nn.Module, path: str, leaf: str, quantized: Quantized) -> Stored | None:
    module = _module(model, path)
    if module is None:
        return None
    if leaf == "weight" and (found := quantized(module)) is not None:
        return found
    tensor = getattr(module, leaf, None)
    return plain(tensor) if isinstance(tensor, Tensor) else None


def _stacked(
    model: nn.Module, path: str, leaf: str, experts: int, quantized: Quantized
) -> Stored | None:
    """Experts that were taken apart, `[expert, out, in]` again, gate above up."""
    rows = [
        [_at(model, f"{path}.{expert}.{part}", "weight", quantized) for part in PARTS[leaf]]
        for expert in range(experts)
    ]
    parts = [part for row in rows for part in row if part is not None]
    if len(parts) != experts * len(PARTS[leaf]):
        return None

    def weight() -> Tensor:
        return torch.stack([torch.cat([p.weight() for p in row if p]) for row in rows])

    formats = sorted({part.format for part in parts})
    bits = sum(part.bits for part in parts) / len(parts)
    return replace(parts[0], weight=weight, bits=bits, format=" and ".join(formats))


def _transposed(stored: Stored) -> Stored:
    return replace(stored, weight=lambda: stored.weight().T)
