"""A model's config.json, refused where no model could be made of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.utils.quantization_config import Mxfp4Config

from bitlens.errors import BitlensError, ModelError
from bitlens.models.explained import guarded
from bitlens.models.files import folder_of, held, weight_files
from bitlens.models.folder import require_model
from bitlens.models.hub import require_answer
from bitlens.models.source import IN_MEMORY, ModelSource, name_of

LARGEST = {
    "num_hidden_layers": 4096,
    "num_layers": 4096,
    "n_layer": 4096,
    "n_layers": 4096,
    "max_position_embeddings": 1 << 24,
    "n_positions": 1 << 24,
}
"""Of what a configuration may ask for: many times what any model has."""
DESCRIBED = 1 << 28
"""Weights that a configuration may describe beyond twice what the files hold; missing ones are
then named, and many more than that would take the memory first."""
_IMPLEMENTATIONS = ("attn_implementation", "experts_implementation")
DEQUANTIZED = {"mxfp4": Mxfp4Config}
"""Methods of which transformers makes ordinary weights again when it loads them."""


def configuration(source: ModelSource, **arguments: Any) -> Any:
    """What its config.json says; refused where no model could be made of it."""
    if source.name.startswith(IN_MEMORY):
        raise ModelError(
            f"{name_of(source)} was handed over as an object: it is in no folder.",
            "a folder or a hub id, or the object again.",
            "bitlens.audit(model, tokenizer=tokenizer, ...) in Python, or save_pretrained first.",
        )
    require_model(source)
    if not Path(source.name).exists() and not arguments.get("local_files_only"):
        guarded(source, lambda: require_answer(source.name, "config.json", source.revision))
    common = {"revision": source.revision, "trust_remote_code": source.trust_remote_code}
    # Its class may make a list as long as the model is deep: the number is looked at before.
    settings, _ = guarded(
        source,
        lambda: PretrainedConfig.get_config_dict(
            source.name, revision=source.revision, **arguments
        ),
    )
    if not isinstance(settings, Mapping):
        raise ModelError(
            f"config.json of {source.name} holds no settings.",
            "an object with the settings of a model.",
            "fetch the file again.",
        )
    _require_sizes(source, settings)
    if not source.trust_remote_code:
        _require_no_kernels(source, settings)
    config = guarded(source, lambda: AutoConfig.from_pretrained(source.name, **common, **arguments))
    depth = getattr(config.get_text_config(), "num_hidden_layers", None)
    if not getattr(config, "is_encoder_decoder", False) and not (type(depth) is int and depth > 0):
        raise _unbelievable(source, "num_hidden_layers", depth)
    return config


def _require_sizes(source: ModelSource, settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if isinstance(value, dict):
            _require_sizes(source, value)
        elif key in LARGEST and type(value) is int and value > LARGEST[key]:
            raise _unbelievable(source, key, value)


def _require_no_kernels(source: ModelSource, settings: Mapping[str, Any]) -> None:
    """A configuration may name code of a repository to attend or to route with, which the library
    fetches and runs."""
    for key, value in settings.items():
        if key.strip("_") in _IMPLEMENTATIONS and "/" in str(value):
            raise ModelError(
                f"config.json of {source.name} names code to run: {key} {value!r}.",
                "eager or sdpa; code that a model names is run only when asked for.",
                f"take {key} out of config.json, or read that code, then --trust-remote-code.",
            )


def _unbelievable(source: ModelSource, key: str, value: Any) -> BitlensError:
    return ModelError(
        f"config.json of {source.name} gives {key} as {value!r}.",
        f"a whole number from 1 to {LARGEST[key]:,}.",
        "the config.json that was published with these weights.",
    )


def dequantized(source: ModelSource, config: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """How a reference is loaded whose weights are stored as codes, and what is said of it.
    ModelError for codes that are not read as weights."""
    text = config.get_text_config(decoder=True)
    settings = getattr(config, "quantization_config", None) or getattr(
        text, "quantization_config", None
    )
    if not settings:
        return {}, ()
    settings = settings if isinstance(settings, dict) else settings.to_dict()
    method = settings.get("quant_method")
    method = getattr(method, "value", method)
    if method not in DEQUANTIZED:
        raise ModelError(
            f"{source.name} is quantized ({method}): it has no weights that could be compressed "
            "or compared with.",
            "a reference in 16 or 32 bits"
            f" ({' and '.join(name.upper() for name in DEQUANTIZED)} can be undone).",
            "the model that it was made from as the reference, and beside it --to "
            f"checkpoint:{source.name} (inspect: --twin {source.name}).",
        )
    note = (
        f"{name_of(source)} is stored in {method.upper()}; its weights were dequantized when it "
        "was loaded, and what is compressed and compared is that."
    )
    return {"quantization_config": DEQUANTIZED[method](dequantize=True)}, (note,)


def skeleton(config: Any, source: ModelSource) -> nn.Module:
    """The model without weights."""
    with torch.device("meta"):
        model: nn.Module = AutoModelForCausalLM.from_config(
            config, trust_remote_code=source.trust_remote_code
        )
        return model


def require_described(source: ModelSource, made: nn.Module) -> None:
    """What is missing would be made up, and take memory, before anyone could say so. ModelError
    where the configuration describes more weights than the files hold."""
    folder = folder_of(source)
    if folder is None or not weight_files(folder):
        return
    described = sum(p.numel() for p in made.parameters())
    found = guarded(source, lambda: held(folder))
    if described > 2 * found + DESCRIBED:
        raise ModelError(
            f"config.json of {source.name} describes {described:,} weights; its files hold "
            f"{found:,}.",
            "a configuration and the weights of one model.",
            "fetch all of its files again.",
        )
