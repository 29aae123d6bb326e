"""GPTQ and AWQ, through gptqmodel."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PretrainedConfig

from bitlens.checkpoints.checkpoint import Found, Request, Stored, library
from bitlens.checkpoints.pretrained import folder
from bitlens.checkpoints.stored import Quantized, bits_per_weight, find
from bitlens.models.files import require_safetensors
from bitlens.models.load import guarded


def read(request: Request) -> Found:
    """The model with gptqmodel's plain torch kernels.

    The faster ones repack the weights in place, at the first forward or before, after which
    nothing can be dequantized.
    """
    # With fewer its thread pool fails to start on machines of two cores.
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    gptqmodel = library("gptqmodel", "gptq", needed_for="A GPTQ or AWQ checkpoint")
    packing = library(
        "gptqmodel.quantization.awq.utils.packing_utils", "gptq", needed_for="An AWQ checkpoint"
    )
    source, backends = request.source, gptqmodel.BACKEND
    method = _settings(request)
    backend = backends.AWQ_TORCH if method == "awq" else backends.GPTQ_TORCH
    # It has no switch for it: what it is given holds no pickles, or none that it would read.
    path = folder(request)
    require_safetensors(source.name, path)
    with unchanged(type(request.reference.model).__module__):
        wrapper = guarded(
            source,
            lambda: gptqmodel.GPTQModel.load(
                str(path),
                device=str(request.device),
                backend=backend,
                trust_remote_code=source.trust_remote_code,
            ),
        )
    model = wrapper.model.eval().requires_grad_(False)
    model.set_attn_implementation(request.reference.model.config._attn_implementation)
    stored = find(request.reference.model, model, _held(packing, method))
    kinds = {entry.format for entry in stored.values() if entry.format.startswith(method)}
    note = "gptqmodel's plain torch kernels run, which keep the weights as they are stored."
    return Found(" and ".join(sorted(kinds)) or method, True, model, stored, (note,))


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


def _settings(request: Request) -> str:
    config, _ = PretrainedConfig.get_config_dict(
        request.source.name, revision=request.source.revision
    )
    settings: dict[str, Any] = config.get("quantization_config", {})
    return str(settings.get("quant_method", "gptq")).lower()


def _held(packing: Any, method: str) -> Quantized:
    def quantized(module: nn.Module) -> Stored | None:
        made: Any = module
        if not isinstance(getattr(made, "qweight", None), Tensor):
            return None

        def weight() -> Tensor:
            if hasattr(made, "dequantize_weight"):
                return made.dequantize_weight().T.float()
            tensors = made.qweight, made.qzeros, made.scales
            return packing.dequantize_gemm(*tensors, made.bits, made.group_size).T.float()

        ordered = getattr(made, "desc_act", False)
        held = [made.qweight, made.qzeros, made.scales, made.g_idx if ordered else None]
        group = max(int(made.group_size), 0)
        return Stored(
            weight,
            bits_per_weight(held, made.in_features * made.out_features),
            f"{method} {made.bits} bits",
            0 if group == made.in_features else group,
            "columns grouped in the order of their activations" if ordered else "",
        )

    return quantized
