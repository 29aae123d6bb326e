"""Which families of models were tried? As data: their names, what is special, and a tiny one.

A family that is not here works all the same where its blocks add attention and MLP to the
residual stream; what is here, the laws of the tests are run on. Importing this needs no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Family:
    """A family of models and the smallest random one that shows its peculiarities."""

    name: str
    """As people call it."""
    model_type: str
    """As transformers calls it."""
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
    Family("GPT-2", "gpt2", _GPT2, "transposed matrices (Conv1D), fused query, key and value"),
    Family(
        "GPT-NeoX, Pythia",
        "gpt_neox",
        {**_SIZES, "intermediate_size": 128},
        "parallel attention and MLP, query, key and value fused head by head",
    ),
    Family(
        "GPT-Neo",
        "gpt_neo",
        {
            **_TOKENS,
            "num_layers": 2,
            "hidden_size": 64,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 8,
            "max_position_embeddings": 64,
        },
        "every second block attends locally",
    ),
    Family(
        "GPT-J",
        "gptj",
        {**_GPT2, "rotary_dim": 8},
        "parallel attention and MLP that share one norm",
    ),
    Family(
        "OPT",
        "opt",
        {**_SIZES, "ffn_dim": 128, "word_embed_proj_dim": 64, "pad_token_id": 2},
        "the MLP is not a module of its own",
    ),
    Family(
        "BLOOM",
        "bloom",
        {**_TOKENS, "n_layer": 3, "hidden_size": 64, "n_head": 4},
        "ALiBi; residuals added inside attention and MLP; query, key and value fused head by head",
    ),
    Family(
        "Falcon 7B",
        "falcon",
        {**_SIZES, "multi_query": True, "parallel_attn": True, "bias": False},
        "parallel attention and MLP that share one norm, added in place; one key and value head",
    ),
    Family(
        "Falcon 40B",
        "falcon",
        {**_SIZES, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": False},
        "parallel attention and MLP with a norm each, added in place; query, key and value fused "
        "group by group",
        "40b",
    ),
    Family("Llama", "llama", _LLAMA, "grouped queries"),
    Family("Mistral", "mistral", {**_LLAMA, "sliding_window": 8}, "sliding windows"),
    Family("Mixtral", "mixtral", {**_LLAMA, "num_local_experts": 4}, "fused experts and a router"),
    Family("Qwen2", "qwen2", _LLAMA, "biases on query, key and value"),
    Family("Qwen3", "qwen3", {**_LLAMA, "head_dim": 16}, "normed queries and keys"),
    Family(
        "Qwen3-MoE",
        "qwen3_moe",
        {
            **_LLAMA,
            "head_dim": 16,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
        },
        "fused experts and a router",
    ),
    Family("StarCoder2", "starcoder2", _LLAMA, "LayerNorm and biases"),
    Family(
        "Phi",
        "phi",
        {**_SIZES, "intermediate_size": 128},
        "parallel attention and MLP that share one norm",
    ),
    Family(
        "Phi-3",
        "phi3",
        {**_LLAMA, "pad_token_id": 2},
        "fused query, key and value; fused gate and up",
    ),
    Family("OLMo", "olmo", _LLAMA, "norms without weights"),
    Family("OLMo 2", "olmo2", _LLAMA, "norms after attention and MLP, none before"),
    Family(
        "Gemma 2",
        "gemma2",
        {**_LLAMA, "head_dim": 16, "sliding_window": 8},
        "norms before and after attention and MLP, soft-capped logits, sliding windows",
    ),
    Family(
        "Gemma 3 (text)",
        "gemma3_text",
        {**_LLAMA, **_SLIDING},
        "norms before and after attention and MLP, two kinds of position embeddings",
    ),
    Family("Cohere", "cohere", _LLAMA, "parallel attention and MLP that share one norm"),
    Family("StableLM", "stablelm", _LLAMA, "LayerNorm, partly rotary"),
    Family(
        "gpt-oss",
        "gpt_oss",
        {**_LLAMA, **_SLIDING, "num_local_experts": 4, "num_experts_per_tok": 2},
        "fused, transposed experts; attention sinks; sliding windows",
    ),
)
