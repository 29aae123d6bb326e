"""Writes GGUF files as llama.cpp's converter does."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGUFWriter
from torch import nn

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "gpt2": gguf.MODEL_ARCH.GPT2,
    "qwen3_moe": gguf.MODEL_ARCH.QWEN3MOE,
    "gpt_neox": gguf.MODEL_ARCH.GPTNEOX,
    "gpt_oss": gguf.MODEL_ARCH.GPT_OSS,
}


def write(
    model: nn.Module,
    path: Path,
    kind: Any = None,
    tokens: list[str] | None = None,
    **settings: Any,
) -> Path:
    """The model's weights, its matrices in blocks of a kind, or of what `kind` says of a tensor's
    name; `settings` by their key override."""
    config: Any = model.config
    name = gguf.MODEL_ARCH_NAMES[ARCHITECTURES[config.model_type]]
    writer = GGUFWriter(path, name)
    _describe(writer, config, name, settings)
    if tokens:
        writer.add_token_list(tokens)
    for tensor, array in _tensors(model, config):
        array = np.ascontiguousarray(array, dtype=np.float32)
        own = kind(tensor) if callable(kind) else kind
        matrix = array.ndim > 1 and tensor.endswith(".weight") and "gate_inp" not in tensor
        if own is not None and matrix:
            writer.add_tensor(tensor, gguf.quantize(array, own), raw_dtype=own)
        else:
            writer.add_tensor(tensor, array)
    return _finished(writer, path)


def rewritten(
    source: Path,
    path: Path,
    change: Callable[[str], Any] = lambda name: None,
    added: Mapping[str, np.ndarray] | None = None,
    file_type: int | None = None,
) -> Path:
    """The same file with other tensors: `change` gives a tensor's kind of block, None to leave it
    as it is, False to leave it out."""
    reader = gguf.GGUFReader(source)
    name = reader.get_field("general.architecture").contents()
    writer = GGUFWriter(path, name)
    if file_type is not None:
        writer.add_file_type(file_type)
    for field in reader.fields.values():
        if field.name.startswith(f"{name}."):
            writer.add_key_value(field.name, field.contents(), field.types[0])
    for tensor in reader.tensors:
        kind = change(tensor.name)
        if kind is None:
            writer.add_tensor(tensor.name, tensor.data)
        elif kind is not False:
            writer.add_tensor(tensor.name, gguf.quantize(tensor.data, kind), raw_dtype=kind)
    for tensor_name, array in (added or {}).items():
        writer.add_tensor(tensor_name, array)
    return _finished(writer, path)


def _finished(writer: Any, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: Any, config: Any, name: str, settings: dict[str, Any]) -> None:
    whole = {
        "block_count": config.num_hidden_layers,
        "embedding_length": config.hidden_size,
        "context_length": config.max_position_embeddings,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": getattr(config, "num_key_value_heads", None),
        "feed_forward_length": getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        "rope.dimension_count": config.head_dim if name == "llama" else None,
        "attention.key_length": getattr(config, "head_dim", None),
        "expert_count": getattr(config, "num_experts", None)
        or getattr(config, "num_local_experts", None),
        "expert_used_count": getattr(config, "num_experts_per_tok", None),
        "expert_feed_forward_length": getattr(config, "moe_intermediate_size", None),
    }
    numbers = {
        "attention.layer_norm_rms_epsilon": getattr(config, "rms_norm_eps", None),
        "attention.layer_norm_epsilon": getattr(config, "layer_norm_epsilon", None),
        "rope.freq_base": (getattr(config, "rope_parameters", None) or {}).get("rope_theta"),
    }
    for key, value in whole.items():
        if value is not None:
            writer.add_uint32(f"{name}.{key}", int(settings.get(key, value)))
    scaling = {key: settings[key] for key in settings if key.startswith("rope.scaling")}
    for key, value in (numbers | scaling).items():
        value = settings.get(key, value)
        if isinstance(value, str):
            writer.add_string(f"{name}.{key}", value)
        elif value is not None:
            writer.add_float32(f"{name}.{key}", float(value))


def _tensors(model: nn.Module, config: Any) -> Any:
    names = gguf.get_tensor_name_map(ARCHITECTURES[config.model_type], config.num_hidden_layers)
    for name, parameter in model.named_parameters():
        array = parameter.detach().float().numpy()
        if config.model_type == "gpt_oss" and ".experts." in name:
            yield from _experts_of_gpt_oss(name, array)
            continue
        if name.endswith("sinks"):
            yield f"{names.get_name(name)}.weight", array
            continue
        if name.endswith("experts.gate_up_proj"):
            block, half = name.split(".")[2], array.shape[1] // 2
            yield f"blk.{block}.ffn_gate_exps.weight", array[:, :half]
            yield f"blk.{block}.ffn_up_exps.weight", array[:, half:]
            continue
        if name.endswith("experts.down_proj"):
            yield f"blk.{name.split('.')[2]}.ffn_down_exps.weight", array
            continue
        if ARCHITECTURES[config.model_type] == gguf.MODEL_ARCH.LLAMA:
            if "q_proj" in name:
                array = reordered(array, config.num_attention_heads)
            if "k_proj" in name:
                array = reordered(array, config.num_key_value_heads)
        if config.model_type == "gpt2" and array.ndim == 2 and ".h." in name:
            array = array.T
        yield names.get_name(name, try_suffixes=(".weight", ".bias")), array


def _experts_of_gpt_oss(name: str, array: np.ndarray) -> Any:
    """`[expert, in, out]` as `[expert, out, in]`; rows of gate and up, which take turns, apart."""
    _, _, block, *_, leaf = name.split(".")
    kind = "bias" if leaf.endswith("_bias") else "weight"
    rows = array if kind == "bias" else array.swapaxes(1, 2)
    if leaf.startswith("gate_up"):
        yield f"blk.{block}.ffn_gate_exps.{kind}", rows[:, ::2]
        yield f"blk.{block}.ffn_up_exps.{kind}", rows[:, 1::2]
    else:
        yield f"blk.{block}.ffn_down_exps.{kind}", rows


def reordered(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head as llama.cpp's rotary embedding wants them: the halves interleaved."""
    halves = rows.reshape(heads, 2, -1, rows.shape[1])
    return halves.transpose(0, 2, 1, 3).reshape(rows.shape)
