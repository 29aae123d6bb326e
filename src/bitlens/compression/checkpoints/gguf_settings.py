"""What a GGUF file says about its model's arithmetic."""

import math
from typing import Any

import numpy as np
import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from bitlens.compression.checkpoints.same import REMEDY
from bitlens.errors import ModelError

SETTINGS = {
    "attention.layer_norm_epsilon": ("layer_norm_epsilon", "layer_norm_eps"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.sliding_window": ("sliding_window",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "expert_used_count": ("num_experts_per_tok",),
    "embedding_scale": ("embedding_multiplier",),
    "residual_scale": ("residual_multiplier",),
    "attention.scale": ("attention_multiplier",),
    "logit_scale": ("logit_scale", "logits_scaling"),
}
"""What it says about its arithmetic."""


def says(reader: Any, key: str) -> Any:
    """What a field holds; None where there is no such field."""
    field = reader.get_field(key)
    return None if field is None else field.contents()


def take_settings(config: Any, name: str, reader: Any) -> None:
    """Put into a configuration what the file says; it has 32 bits for each number."""
    _take_rotary(config, name, reader)
    architecture = says(reader, "general.architecture")
    for key, names in SETTINGS.items():
        said = says(reader, f"{architecture}.{key}")
        for name in names:
            if said is not None and hasattr(config, name):
                own = getattr(config, name)
                if own is None or not math.isclose(own, said, rel_tol=1e-6):
                    setattr(config, name, said)


def _take_rotary(config: Any, name: str, reader: Any) -> None:
    """How positions turn what attention compares, where the reference's do at all."""
    rotary = getattr(config, "rope_parameters", None) or {}
    # Of families with a local kind of attention too, files say it of the other.
    own = rotary.get("full_attention", rotary)
    if "rope_theta" not in own:
        return
    prefix = f"{says(reader, 'general.architecture')}.rope."
    base = says(reader, f"{prefix}freq_base")
    if base is not None and not math.isclose(base, own["rope_theta"], rel_tol=1e-6):
        own["rope_theta"] = base
    factors = [t.data for t in reader.tensors if t.name == "rope_freqs.weight"]
    if factors:
        _require_factors(config, own, name, np.asarray(factors[0]))
        return
    kind, before = says(reader, f"{prefix}scaling.type") or "none", own.get("rope_type", "default")
    numbers = {
        "factor": says(reader, f"{prefix}scaling.factor"),
        "original_max_position_embeddings": says(
            reader, f"{prefix}scaling.original_context_length"
        ),
    }
    if kind in ("linear", "yarn"):
        own |= {"rope_type": kind} | {k: n for k, n in numbers.items() if n is not None}
    elif kind == "none" and before in ("linear", "yarn", "llama3"):
        own |= {"rope_type": "default"}
    elif kind not in ("none", before):
        raise ModelError(
            f"{name} scales its rotary positions by {kind}, and they are {before} in the"
            " reference.",
            "linear, yarn or none, or what the reference does.",
            REMEDY,
        )


def _require_factors(config: Any, rotary: dict[str, Any], name: str, factors: Any) -> None:
    """Llama 3's scaling is in the file as what each frequency is divided by."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    plain = rotary["rope_theta"] ** (-np.arange(0, width, 2) / width)
    kind, own = rotary.get("rope_type", "default"), plain
    if kind != "default":
        own = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))[0].numpy()
    if len(factors) != len(plain) or not np.allclose(plain / factors, own, rtol=1e-3):
        raise ModelError(
            f"{name} divides its rotary frequencies by other numbers (rope_freqs.weight) than the"
            " reference does.",
            "the reference's own scaling of rotary positions.",
            REMEDY,
        )
