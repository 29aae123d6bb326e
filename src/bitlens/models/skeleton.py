"""The outline of a model, laid out from its configuration alone, without its weights."""

from pathlib import Path

import torch
from accelerate import init_empty_weights
from huggingface_hub import try_to_load_from_cache
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from bitlens.models.configuration import configuration, dequantized, require_described, skeleton
from bitlens.models.explained import guarded
from bitlens.models.folder import require_model
from bitlens.models.layout import blocks_path, structure
from bitlens.models.source import ModelSource


def outline(source: ModelSource) -> PreTrainedModel | None:
    """The model with random numbers around its blocks and in one block of each structure, which is
    what a `Layout` examines; all other blocks are on the meta device.

    None for a hub id whose configuration is not in the cache: nothing is fetched. BitlensError for
    a folder that holds no model.
    """
    require_model(source)
    if not Path(source.name).exists() and not _cached(source):
        return None
    config = configuration(source, local_files_only=True)
    dequantized(source, config)
    # Below, each parameter takes its memory once before it is let go.
    require_described(source, guarded(source, lambda: skeleton(config, source)))
    dtype = source.dtype if source.dtype != "auto" else (config.dtype or torch.float32)
    with init_empty_weights(include_buffers=False):
        model: PreTrainedModel = guarded(
            source,
            lambda: AutoModelForCausalLM.from_config(
                config, dtype=dtype, trust_remote_code=source.trust_remote_code
            ),
        )
    model.tie_weights()
    _fill(model, config.get_text_config().num_hidden_layers)
    return model


def _cached(source: ModelSource) -> bool:
    name, revision = source.name, source.revision
    found = guarded(source, lambda: try_to_load_from_cache(name, "config.json", revision=revision))
    return isinstance(found, str)


def _fill(model: PreTrainedModel, depth: int) -> None:
    """Random numbers of ordinary size, the same ones in tied parameters."""
    path = blocks_path(model, depth)
    blocks = dict(model.get_submodule(path).named_children())
    first = {structure(block): name for name, block in reversed(blocks.items())}
    empty = tuple(f"{path}.{name}." for name in blocks.keys() - first.values())
    generator = torch.Generator().manual_seed(0)
    filled: dict[nn.Parameter, nn.Parameter] = {}
    for name, module in model.named_modules():
        if f"{name}.".startswith(empty):
            continue
        for key, parameter in module._parameters.items():
            if parameter is not None:
                if parameter not in filled:
                    filled[parameter] = _random(parameter, generator)
                module._parameters[key] = filled[parameter]


def _random(parameter: nn.Parameter, generator: torch.Generator) -> nn.Parameter:
    numbers = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    around = 1 + 0.2 * numbers if numbers.ndim == 1 else numbers / parameter.shape[-1] ** 0.5
    return nn.Parameter(around, requires_grad=False)
