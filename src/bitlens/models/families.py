"""The families of models that were tried, as data: names, what is special, and a tiny one.

A family that is not here works all the same where its blocks add attention and MLP to the
residual stream; what is here, the laws of the tests are run on. Importing this needs no torch.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Family:
    """A family of models and the smallest random one that shows its peculiarities."""

    name: str
    """As people call it."""
    model_type: str
    """As transformers calls it."""
    _: KW_ONLY
    tiny: Mapping[str, Any]
    """Settings of a tiny model: `AutoConfig.for_model(model_type, **tiny)`."""
    notes: str = ""
    """What sets it apart."""
    variant: str = ""
    """Which of the architectures that transformers calls by this one name."""

    @property
    def key(self) -> str:
        """Its own among all families: `gpt2`, `falcon-40b`."""
        return "-".join(filter(None, (self.model_type, self.variant)))


_TOKENS = {"vocab_size": 128, "bos_token_id": 0, "eos_token_id": 1}
_SIZES = {
    **_TOKENS,
    "num_hidden_layers": 3,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_LLAMA = {**_SIZES, "num_key_value_heads": 2, "intermediate_size": 128, "pad_token_id": None}
_GPT2 = {**_TOKENS, "n_layer": 3, "n_embd": 64, "n_head": 4, "n_positions": 64}
_SLIDING = {
    "head_dim": 16,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}

FAMILIES = (
    Family(
        "GPT-2",
        "gpt2",
        tiny=_GPT2,
        notes="transposed matrices (Conv1D), fused query, key and value",
    ),
    Family(
        "GPT-NeoX, Pythia",
        "gpt_neox",
        tiny={**_SIZES, "intermediate_size": 128},
        notes="parallel attention and MLP, query, key and value fused head by head",
    ),
    Family(
        "GPT-Neo",
        "gpt_neo",
        tiny={
            **_TOKENS,
            "num_layers": 2,
            "hidden_size": 64,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 8,
            "max_position_embeddings": 64,
        },
        notes="every second block attends locally",
    ),
    Family(
        "GPT-J",
        "gptj",
        tiny={**_GPT2, "rotary_dim": 8},
        notes="parallel attention and MLP that share one norm",
    ),
    Family(
        "OPT",
        "opt",
        tiny={**_SIZES, "ffn_dim": 128, "word_embed_proj_dim": 64, "pad_token_id": 2},
        notes="the MLP is not a module of its own",
    ),
    Family(
        "BLOOM",
        "bloom",
        tiny={**_TOKENS, "n_layer": 3, "hidden_size": 64, "n_head": 4},
        notes="ALiBi; residuals added inside attention and MLP; query, key and value fused "
        "head by head",
    ),
    Family(
        "Falcon 7B",
        "falcon",
        tiny={**_SIZES, "multi_query": True, "parallel_attn": True, "bias": False},
        notes="parallel attention and MLP that share one norm, added in place; "
        "one key and value head",
    ),
    Family(
        "Falcon 40B",
        "falcon",
        tiny={**_SIZES, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": False},
        notes="parallel attention and MLP with a norm each, added in place; "
        "query, key and value fused group by group",
        variant="40b",
    ),
    Family("Llama", "llama", tiny=_LLAMA, notes="grouped queries"),
    Family("Mistral", "mistral", tiny={**_LLAMA, "sliding_window": 8}, notes="sliding windows"),
    Family(
        "Mixtral",
        "mixtral",
        tiny={**_LLAMA, "num_local_experts": 4},
        notes="fused experts and a router",
    ),
    Family("Qwen2", "qwen2", tiny=_LLAMA, notes="biases on query, key and value"),
    Family("Qwen3", "qwen3", tiny={**_LLAMA, "head_dim": 16}, notes="normed queries and keys"),
    Family(
        "Qwen3-MoE",
        "qwen3_moe",
        tiny={
            **_LLAMA,
            "head_dim": 16,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
        },
        notes="fused experts and a router",
    ),
    Family("StarCoder2", "starcoder2", tiny=_LLAMA, notes="LayerNorm and biases"),
    Family(
        "Phi",
        "phi",
        tiny={**_SIZES, "intermediate_size": 128},
        notes="parallel attention and MLP that share one norm",
    ),
    Family(
        "Phi-3",
        "phi3",
        tiny={**_LLAMA, "pad_token_id": 2},
        notes="fused query, key and value; fused gate and up",
    ),
    Family("OLMo", "olmo", tiny=_LLAMA, notes="norms without weights"),
    Family("OLMo 2", "olmo2", tiny=_LLAMA, notes="norms after attention and MLP, none before"),
    Family(
        "Gemma 2",
        "gemma2",
        tiny={**_LLAMA, "head_dim": 16, "sliding_window": 8},
        notes="norms before and after attention and MLP, soft-capped logits, sliding windows",
    ),
    Family(
        "Gemma 3 (text)",
        "gemma3_text",
        tiny={**_LLAMA, **_SLIDING},
        notes="norms before and after attention and MLP, two kinds of position embeddings",
    ),
    Family("Cohere", "cohere", tiny=_LLAMA, notes="parallel attention and MLP that share one norm"),
    Family("StableLM", "stablelm", tiny=_LLAMA, notes="LayerNorm, partly rotary"),
    Family(
        "gpt-oss",
        "gpt_oss",
        tiny={**_LLAMA, **_SLIDING, "num_local_experts": 4, "num_experts_per_tok": 2},
        notes="fused, transposed experts; attention sinks; sliding windows",
    ),
)
