"""GGUF: one file with the weights in blocks, read into the reference's own architecture."""

import copy
import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from bitlens.checkpoints.checkpoint import Checkpoint, Request, Stored, library
from bitlens.checkpoints.pretrained import load_whole
from bitlens.checkpoints.same import REMEDY, require_tokens
from bitlens.checkpoints.stored import dequantized, find, restored
from bitlens.errors import BitlensError
from bitlens.models.load import Loaded, guarded

WRITTEN_AS = {"mistral": "llama", "gemma3_text": "gemma3", "cohere": "command-r"}
"""Architectures that the format calls by another's name."""

READ_AS = {"mistral": "llama"}
"""Those whose tensors transformers reads only under the other's name."""

SETTINGS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
}
"""What a file says about its model, and what the reference's configuration calls it."""

EXPERTS = {"gate_up_proj": ("gate", "up"), "down_proj": ("down",)}

SUBGROUPS = {"Q2_K": 16, "Q3_K": 16, "Q4_K": 32, "Q5_K": 32, "Q6_K": 16}
"""Weights that share a scale, where that is less than a block."""


def open_file(request: Request) -> Checkpoint:
    """The file's weights, dequantized, in matrices of the reference's dtype.

    The file does not hold the whole configuration: the reference's is used, after every setting
    that the file does hold was compared with it. Rows that llama.cpp reorders are put back.
    """
    gguf = library("gguf", "gguf", needed_for="A .gguf file")
    if request.run == "kernels":
        raise BitlensError(
            f"{request.source.name}: run=kernels, but GGUF files are read as ordinary matrices.",
            "run=weights.",
            f"checkpoint:{request.source.name}",
        )
    reference, path = request.reference, _file(request)
    reader = _reader(gguf, path)
    tokens = _require_same(reference, path.name, reader)
    dtype = reference.model.dtype
    config, read_as = _configurations(reference, reader)
    model = load_whole(
        request,
        AutoModelForCausalLM,
        name=str(path.parent),
        gguf_file=path.name,
        config=read_as,
        dtype=dtype,
    )
    stored = _described(gguf, reader, find(reference.model, model), read_as)
    if read_as is not config:
        model = dequantized(type(reference.model), config, stored, dtype, request.device)
        stored = restored(model, stored)
    notes = [
        f"{path.name} says only part of its model's settings; the rest are those of"
        f" {reference.name}.",
        f"{'Its tokens were compared' if tokens else 'It has no tokens'}; the tokenizer of"
        f" {reference.name} is used.",
    ]
    with path.open("rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return Checkpoint(
        path.name,
        f"{_kind(gguf, reader)} gguf",
        False,
        model,
        reference.tokenizer,
        fingerprint,
        stored,
        tuple(notes),
    )


def _file(request: Request) -> Path:
    """The file itself, from the hub where its name is `owner/name/file.gguf`."""
    name = request.source.name
    path = Path(name).expanduser()
    if path.is_file():
        return path
    parts = name.split("/")
    if len(parts) > 2 and not name.startswith((".", "/", "~")) and not Path(parts[0]).is_dir():
        repository, file = "/".join(parts[:2]), "/".join(parts[2:])
        revision = request.source.revision
        return Path(
            guarded(request.source, lambda: hf_hub_download(repository, file, revision=revision))
        )
    raise BitlensError(
        f"There is no file {name}.",
        "a .gguf file, or of a hub repository owner/name/file.gguf.",
        "check the spelling.",
    )


def _reader(gguf: Any, path: Path) -> Any:
    try:
        return gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, OverflowError, TypeError, OSError) as error:
        raise BitlensError(
            f"{path.name} cannot be read as GGUF: {type(error).__name__}: {error}.",
            "a whole GGUF file of version 2 or 3.",
            "compare its size with the original's and fetch it again.",
        ) from error


def _says(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _require_same(reference: Loaded, name: str, reader: Any) -> bool:
    """Raises with the first difference from the reference; whether there were tokens to compare."""
    config = reference.model.config.get_text_config()
    architecture = str(_says(reader, "general.architecture"))
    expected = WRITTEN_AS.get(config.model_type, config.model_type)
    if _plain(architecture) != _plain(expected):
        raise BitlensError(
            f"{name} is a {architecture}, {reference.name} a {config.model_type}.",
            "two models of one architecture.",
            REMEDY,
        )
    if config.model_type == "gpt_neox":
        raise BitlensError(
            f"{name} is a GPT-NeoX: transformers reads no GGUF files of that architecture.",
            "one that it reads: llama, mistral, qwen2, qwen3, qwen3_moe, gpt2, gemma2, ...",
            "the same quantization as bitlens makes it (bitlens list compressions), or another"
            " format.",
        )
    for key, setting in SETTINGS.items():
        found, own = _says(reader, f"{architecture}.{key}"), _setting(config, setting)
        if None not in (found, own) and not math.isclose(found, own, rel_tol=1e-6):
            raise BitlensError(
                f"{name} says {key} is {found:g}, in {reference.name} {setting} is {own:g}.",
                "two models of one architecture and size.",
                REMEDY,
            )
    sizes = {t.name: [int(n) for n in reversed(t.shape)] for t in reader.tensors}
    shape = [config.vocab_size, config.hidden_size]
    if sizes.get("token_embd.weight") != shape:
        raise BitlensError(
            f"token_embd.weight is of shape {sizes.get('token_embd.weight')} in {name}, of shape"
            f" {shape} in {reference.name}.",
            "two models of one vocabulary.",
            REMEDY,
        )
    tokens = _says(reader, "tokenizer.ggml.tokens")
    if tokens:
        require_tokens(reference, name, tokens)
    return bool(tokens)


def _setting(config: Any, name: str) -> Any:
    if name == "rope_theta":
        return (getattr(config, "rope_parameters", None) or {}).get(name)
    return getattr(config, name, None)


def _plain(architecture: str) -> str:
    return architecture.replace("_", "").replace("-", "")


def _configurations(reference: Loaded, reader: Any) -> tuple[PreTrainedConfig, PreTrainedConfig]:
    """The twin's, and the one under which transformers reads the file."""
    config = copy.deepcopy(reference.model.config)
    if any(tensor.name == "output.weight" for tensor in reader.tensors):
        # Read as tied, the file's own unembedding would be dropped.
        config.tie_word_embeddings = False
    name = READ_AS.get(config.model_type)
    if name is None:
        return config, config
    given = config.to_dict()
    for key in ("model_type", "architectures", "transformers_version"):
        given.pop(key, None)
    return config, AutoConfig.for_model(name, **given)


def _described(
    gguf: Any, reader: Any, stored: Mapping[str, Stored], config: PreTrainedConfig
) -> dict[str, Stored]:
    """With the type in which the file holds each."""
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    written = str(_says(reader, "general.architecture"))
    architecture = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == written)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    described = {}
    for name, entry in stored.items():
        leaf = name.rpartition(".")[2]
        if leaf in EXPERTS:
            block = re.search(r"\.(\d+)\.", name)
            parts = [f"blk.{block[1]}.ffn_{part}_exps.weight" for part in EXPERTS[leaf] if block]
        else:
            parts = [str(names.get_name(name, try_suffixes=(".weight", ".bias")))]
        found = [tensors[part] for part in parts if part in tensors]
        if not found and leaf == "weight":
            # A tied unembedding is stored once, as the embedding.
            found = [tensors["token_embd.weight"]]
        described[name] = replace(entry, **_type(gguf, found))
    return described


def _type(gguf: Any, tensors: list[Any]) -> dict[str, Any]:
    formats = sorted({t.tensor_type.name for t in tensors})
    block = min(gguf.GGML_QUANT_SIZES[t.tensor_type][0] for t in tensors)
    bits = 8 * sum(int(t.n_bytes) for t in tensors) / sum(int(t.n_elements) for t in tensors)
    group = SUBGROUPS.get(formats[0], block)
    return {"bits": bits, "format": " and ".join(formats), "group": group if block > 1 else 0}


def _kind(gguf: Any, reader: Any) -> str:
    """The mixture of types as its maker called it, or else the type of most weights."""
    file_type = _says(reader, "general.file_type")
    if file_type is not None:
        try:
            return gguf.LlamaFileType(file_type).name.removeprefix("MOSTLY_").removeprefix("ALL_")
        except ValueError:
            pass  # a type newer than the library
    weights: Counter[str] = Counter()
    for tensor in reader.tensors:
        weights[tensor.tensor_type.name] += int(tensor.n_elements)
    return weights.most_common(1)[0][0]
