"""GPTQ and AWQ, through gptqmodel."""

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from bitlens.compression.checkpoints.checkpoint import (
    CheckpointRequest,
    ReadCheckpoint,
    Stored,
    library,
    quantization,
)
from bitlens.compression.checkpoints.held import DTYPES, Held, Leaves
from bitlens.compression.checkpoints.pretrained import folder
from bitlens.compression.checkpoints.readers import reader
from bitlens.compression.checkpoints.second_reading import as_in_files
from bitlens.compression.checkpoints.stored import Quantized, bits_per_weight, find
from bitlens.models.explained import guarded
from bitlens.models.files import require_safetensors
from bitlens.results.files.reading import read_json


@reader("gptq", "awq", package="gptqmodel", extra="gptq")
def read(request: CheckpointRequest) -> ReadCheckpoint:
    """The model with gptqmodel's plain torch kernels, in the dtype of the checkpoint's scales.

    The faster ones repack the weights in place, at the first forward or before, after which
    nothing can be dequantized. Left to choose, the library makes all of a model bfloat16 on CPUs.
    """
    # With fewer its thread pool fails to start on machines of two cores.
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    gptqmodel = library("gptqmodel", "gptq", needed_for="A GPTQ or AWQ checkpoint")
    packing = library(
        "gptqmodel.quantization.awq.utils.packing_utils", "gptq", needed_for="An AWQ checkpoint"
    )
    source, backends = request.source, gptqmodel.BACKEND
    settings = quantization(request.config)
    method = str(settings.get("quant_method", "gptq")).lower()
    backend = backends.AWQ_TORCH if method == "awq" else backends.GPTQ_TORCH
    # It has no switch for it: what it is given holds no pickles, or none that it would read.
    path = folder(request)
    require_safetensors(source.name, path)
    held = guarded(source, lambda: Held(path))
    dtype = _dtype(held)
    spared = _spared(request.reference.model, held) if method == "gptq" else []
    with unchanged(type(request.reference.model).__module__), _sparing(path, spared) as given:
        wrapper = guarded(
            source,
            lambda: gptqmodel.GPTQModel.load(
                str(given),
                device=str(request.device),
                backend=backend,
                dtype=dtype,
                trust_remote_code=source.trust_remote_code,
            ),
        )
    model = wrapper.model.eval().requires_grad_(requires_grad=False)
    model.set_attn_implementation(request.reference.model.config._attn_implementation)
    _spare(model, held, dtype, request.device)
    stored = find(request.reference.model, model, _held(packing, method))
    kinds = {entry.format for entry in stored.values() if entry.format.startswith(method)}
    width = str(dtype).removeprefix("torch.")
    note = f"gptqmodel's plain torch kernels run, in {width}."
    on_cpu = request.device.type == "cpu"
    return ReadCheckpoint(
        format=" and ".join(sorted(kinds)) or method,
        kernels=True,
        model=model,
        stored=stored,
        notes=(note,),
        exact=as_in_files(request.reference.model, stored, held, settings),
        undeployed="nobody deploys these kernels on CPUs" if on_cpu else "",
    )


def _dtype(held: Held) -> torch.dtype:
    """In which scales are stored; the zeros and codes beside them are whole numbers."""
    scales = (leaves["scales"] for leaves in held.modules.values() if "scales" in leaves)
    names = {DTYPES.get(scale.dtype, "float16") for scale in scales}
    dtype: torch.dtype = getattr(torch, min(names, default="float16"))
    return dtype


def _spared(reference: PreTrainedModel, held: Held) -> list[str]:
    """Matrices of blocks that the files hold as they were, beside others that are packed."""
    if not any("qweight" in leaves for leaves in held.modules.values()):
        return []
    return [
        name
        for name, module in reference.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and module is not reference.get_output_embeddings()
        and "weight" in held.modules.get(name, {})
    ]


@contextmanager
def _sparing(path: Path, spared: Sequence[str]) -> Iterator[Path]:
    """A folder whose settings say of each of these that it is spared: the library refuses GPTQ
    folders that say it in other words than its own."""
    if not spared:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="bitlens-") as folder:
        aside = Path(folder)
        for file in path.iterdir():
            if file.name not in ("config.json", "quantize_config.json"):
                (aside / file.name).symlink_to(file.resolve())
        config = read_json(path / "config.json")
        settings = config["quantization_config"]
        own: dict[str, Any] = {f"-:^{re.escape(name)}$": {} for name in spared}
        settings["dynamic"] = {**(settings.get("dynamic") or {}), **own}
        (aside / "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield aside


def _spare(model: nn.Module, held: Held, dtype: torch.dtype, device: torch.device) -> None:
    """Of AWQ folders the library packs what their settings do not spare by the names that it knows,
    and leaves codes of nought in place of what the files hold as it was."""
    for path, module in list(model.named_modules()):
        if isinstance(getattr(module, "qweight", None), Tensor):
            leaves = held.modules.get(path, {})
            if "weight" in leaves and "qweight" not in leaves:
                model.set_submodule(path, _linear(leaves, dtype, device))


def _linear(leaves: Leaves, dtype: torch.dtype, device: torch.device) -> nn.Module:
    rows, columns = leaves["weight"].shape
    made = nn.Linear(columns, rows, "bias" in leaves, device=device, dtype=dtype)
    for name, parameter in made.named_parameters():
        parameter.data.copy_(leaves[name].read())
    return made.eval().requires_grad_(requires_grad=False)


@contextmanager
def unchanged(name: str) -> Iterator[None]:
    """gptqmodel puts classes of its own into transformers' modules, to take experts apart; every
    model built afterwards would be made of them."""
    module = sys.modules[name]
    before = dict(vars(module))
    try:
        yield
    finally:
        vars(module).update(before)


def _held(packing: Any, method: str) -> Quantized:
    def quantized(module: nn.Module) -> Stored | None:
        made: Any = module
        if not isinstance(getattr(made, "qweight", None), Tensor):
            return None

        def weight() -> Tensor:
            stored: Tensor
            if hasattr(made, "dequantize_weight"):
                stored = made.dequantize_weight()
            else:
                tensors = made.qweight, made.qzeros, made.scales
                stored = packing.dequantize_gemm(*tensors, made.bits, made.group_size)
            return stored.T.float()

        ordered = getattr(made, "desc_act", False)
        held = [made.qweight, made.qzeros, made.scales, made.g_idx if ordered else None]
        group = max(int(made.group_size), 0)
        return Stored(
            weight=weight,
            bits=bits_per_weight(held, made.in_features * made.out_features),
            format=f"{method} {made.bits} bits",
            group=0 if group == made.in_features else group,
            note="columns grouped in the order of their activations" if ordered else "",
        )

    return quantized
