"""compressed-tensors: what llm-compressor writes, integers or floats of 4 to 8 bits."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from bitlens.compression.checkpoints.checkpoint import (
    CheckpointRequest,
    ReadCheckpoint,
    library,
    ordinary,
    quantization,
)
from bitlens.compression.checkpoints.held import Held, Leaves
from bitlens.compression.checkpoints.pretrained import folder, load_whole
from bitlens.compression.checkpoints.readers import reader
from bitlens.compression.checkpoints.stored import as_held, find
from bitlens.errors import ModelError
from bitlens.models.explained import guarded


class Rounded(nn.Module):
    """A matrix whose inputs, outputs or both are rounded as the checkpoint says."""

    def __init__(self, linear: nn.Module, scheme: Any) -> None:
        super().__init__()
        self.linear = linear
        self.scheme = scheme

    def forward(self, inputs: Tensor) -> Tensor:
        """`[..., in]` to `[..., out]`, both rounded as the checkpoint says."""
        return self._round(self.linear(self._round(inputs, "input")), "output")

    def _round(self, values: Tensor, which: str) -> Tensor:
        from compressed_tensors.quantization.lifecycle.forward import forward_quantize

        arguments = getattr(self.scheme, f"{which}_activations")
        return forward_quantize(self.linear, values, which, arguments) if arguments else values


@reader("compressed-tensors", package="compressed-tensors", extra="ct")
def read(request: CheckpointRequest) -> ReadCheckpoint:
    """Every matrix is unpacked by the library's own code, by the group of settings that is its;
    where the checkpoint rounds activations too, so are they, unless weights alone are asked for.
    """
    library("compressed_tensors", "ct", needed_for="A compressed-tensors checkpoint")
    settings = _settings(request)
    held, reference = Held(folder(request)), request.reference.model
    schemes = dict(_schemes(request, held, settings))
    model = load_whole(
        request,
        type(reference),
        name=None,
        config=ordinary(request.config),
        state_dict=dict(_weights(held, schemes, settings)),
        dtype=torch.float32,
    )

    def describe(module: str) -> dict[str, Any]:
        weights = schemes[module].weights
        return {"format": _label(schemes[module]), "group": int(weights.group_size or 0)}

    stored = as_held(find(reference, model), held, reference.base_model_prefix, describe)
    label = "compressed-tensors " + " and ".join(sorted({_label(s) for s in schemes.values()}))
    if request.run != "weights" and any(map(_rounds, schemes.values())):
        for module, scheme in schemes.items():
            if _rounds(scheme):
                _round(request, model, module, scheme=scheme, leaves=held.modules[module])
        note = "Activations are rounded by compressed-tensors' own code, in ordinary numbers."
        return ReadCheckpoint(
            format=label,
            kernels=True,
            model=model,
            stored=stored,
            notes=(note,),
            left_out=tuple(_left_out(settings)),
        )
    note = f"{label}: dequantized weights in ordinary matrices."
    return ReadCheckpoint(
        format=label,
        kernels=False,
        model=model,
        stored=stored,
        notes=(note,),
        left_out=tuple(_left_out(settings)),
    )


def _settings(request: CheckpointRequest) -> Any:
    """The quantization settings as the library reads them; what it cannot read is refused."""
    from compressed_tensors.quantization import QuantizationConfig

    given = quantization(request.config)
    orders = {
        str((group.get("weights") or {}).get("actorder"))
        for group in (given.get("config_groups") or {}).values()
    }
    if orders & {"group", "dynamic", "True"}:
        raise ModelError(
            f"{request.source.name} has its columns grouped in the order of their activations"
            " (actorder group), which compressed-tensors no longer reads.",
            "actorder weight, static or none.",
            "the model quantized again with actorder=weight; or, where the files hold no"
            " weight_g_idx, take actorder out of config.json: then its columns are in order.",
        )
    for key in ("transform_config", "sparsity_config"):
        if (given.get(key) or {}) and given[key].get("format", "") != "dense":
            raise ModelError(
                f"{request.source.name} has a {key}: {str(given[key])[:120]}.",
                "quantized weights and activations, without rotations and sparse layouts.",
                "the model quantized without it.",
            )
    return guarded(request.source, lambda: QuantizationConfig.model_validate(given))


def _schemes(request: CheckpointRequest, held: Held, settings: Any) -> Iterator[tuple[str, Any]]:
    """By module, the settings of the group that it belongs to, as the library picks it: by name
    before pattern before class. All that is packed, and nothing else, is in one."""
    from compressed_tensors.utils import is_match, match_targets

    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(
            ordinary(request.config), trust_remote_code=request.source.trust_remote_code
        )
        other = nn.Linear(1, 1)
    modules = dict(skeleton.named_modules())
    groups = {t: group for group in settings.config_groups.values() for t in group.targets}
    for name, leaves in held.modules.items():
        if "weight_scale" not in leaves:
            continue
        # What is fused in the model, the experts, is taken apart in the files.
        module = modules.get(name, other)
        targets = match_targets(name, module, groups)
        if not targets or is_match(name, module, settings.ignore or ()):
            raise ModelError(
                f"{name} of {request.source.name} is quantized, but no group of its"
                f" quantization_config says how.",
                f"a group with one of its names among the targets, and not in ignore:"
                f" {', '.join(groups) or 'there are no targets'}.",
                "the config.json that belongs to these files.",
            )
        yield name, groups[targets[0]]


def _weights(held: Held, schemes: dict[str, Any], settings: Any) -> Iterator[tuple[str, Tensor]]:
    """All parameters of the model, one after another."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.format import infer_module_format

    for module, leaves in held.modules.items():
        scheme = schemes.get(module)
        if scheme is None:
            for name, leaf in leaves.items():
                if not name.endswith("_scale"):  # of keys and values, which are left out and said
                    yield f"{module}.{name}".removeprefix("."), leaf.read()
            continue
        packed = {n: leaf.read() for n, leaf in leaves.items() if n.startswith("weight")}
        kept = settings.format if settings.format != "mixed-precision" else None
        form = scheme.format or kept or infer_module_format(nn.Linear, scheme)
        compressor = BaseCompressor.get_value_from_registry(getattr(form, "value", form))
        if packed["weight_scale"].dtype in (torch.float16, torch.bfloat16):
            packed["weight_scale"] = packed["weight_scale"].float()  # else products are rounded
        yield f"{module}.weight", compressor.decompress(packed, scheme)["weight"].float()
        if "bias" in leaves:
            yield f"{module}.bias", leaves["bias"].read()


def _rounds(scheme: Any) -> bool:
    return bool(scheme.input_activations or scheme.output_activations)


def _round(
    request: CheckpointRequest, model: PreTrainedModel, module: str, scheme: Any, leaves: Leaves
) -> None:
    """In place of the methods that the library hangs on its modules, which copies lose."""
    from compressed_tensors.quantization import QuantizationStatus

    try:
        linear: Any = model.get_submodule(module)
    except AttributeError:
        raise ModelError(
            f"{module} of {request.source.name} has its activations rounded too, and is no module"
            " of its own here.",
            "activations rounded in modules of their own, or not at all.",
            f"checkpoint:{request.source.name},run=weights",
        ) from None
    linear.quantization_status = QuantizationStatus.FROZEN
    for name, leaf in leaves.items():
        if name.startswith(("input_", "output_")):
            value = leaf.read()
            made = value.float() if value.is_floating_point() else value
            linear.register_buffer(name, made.to(request.device), persistent=False)
    model.set_submodule(module, Rounded(linear, scheme).eval())


def _label(scheme: Any) -> str:
    parts = [f"{scheme.weights.type}{scheme.weights.num_bits}"]
    for which in ("input", "output"):
        rounded = getattr(scheme, f"{which}_activations")
        if rounded:
            word = "activations" if which == "input" else "outputs"
            parts.append(f"{word} {rounded.type}{rounded.num_bits}")
    return ", ".join(parts)


def _left_out(settings: Any) -> Iterator[str]:
    cache = settings.kv_cache_scheme
    if cache is not None:
        yield f"keys and values are kept as {cache.type}{cache.num_bits} (kv_cache_scheme)"
    for group in settings.config_groups.values():
        if group.weights is None and _rounds(group):
            yield f"activations of {', '.join(group.targets)} are rounded"
