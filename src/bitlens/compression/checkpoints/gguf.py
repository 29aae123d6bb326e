"""GGUF: one file with the weights in blocks, read into the reference's own architecture."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from bitlens.compression.checkpoints.blocks import stand_for
from bitlens.compression.checkpoints.checkpoint import (
    CheckpointRequest,
    LoadedCheckpoint,
    Stored,
    library,
    ordinary,
)
from bitlens.compression.checkpoints.gguf_header import require_whole_header
from bitlens.compression.checkpoints.gguf_settings import says, take_settings
from bitlens.compression.checkpoints.gguf_tensors import READ_HERE, Names, read_tensors
from bitlens.compression.checkpoints.pretrained import load_whole
from bitlens.compression.checkpoints.readers import file_reader
from bitlens.compression.checkpoints.same import REMEDY, other_settings, require_tokens
from bitlens.compression.checkpoints.second_reading import DIFFERENCE
from bitlens.compression.checkpoints.stored import dequantized, find, restored
from bitlens.errors import ModelError
from bitlens.models.explained import guarded
from bitlens.models.hub import require_answer
from bitlens.models.load import Loaded
from bitlens.results.files.reading import open_regular

WRITTEN_AS = {"mistral": "llama", "gemma3_text": "gemma3", "cohere": "command-r"}
"""Architectures that the format calls by another's name."""

READ_AS = {"mistral": "llama"}
"""Those whose tensors transformers reads only under the other's name."""

SIZES = {
    "block_count": ("num_hidden_layers",),
    "embedding_length": ("hidden_size",),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads",),
    "expert_count": ("num_experts", "num_local_experts"),
}
"""What a file says about its shapes, and what the reference's configuration calls it."""

SUBGROUPS = {"Q2_K": 16, "Q3_K": 16, "Q4_K": 32, "Q5_K": 32, "Q6_K": 16}
"""Weights that share a scale, where that is less than a block."""


@file_reader(".gguf", package="gguf", extra="gguf")
def open_file(request: CheckpointRequest) -> LoadedCheckpoint:
    """The file's weights, dequantized, in ordinary matrices.

    The file does not hold the whole configuration: the rest of it is the reference's. Rows that
    llama.cpp reorders are put back. ModelError where it is to run in kernels.
    """
    gguf = library("gguf", "gguf", needed_for="A .gguf file")
    if request.run == "kernels":
        raise ModelError(
            f"{request.source.name}: run=kernels, but GGUF files are read as ordinary matrices.",
            "run=weights.",
            f"checkpoint:{request.source.name}",
        )
    reference, path = request.reference, _file(request)
    reader = _reader(gguf, path)
    tokens = _require_same(reference, path.name, reader)
    config, read_as = _configurations(reference, path.name, reader)
    names = Names(gguf, reader, read_as.num_hidden_layers)
    model = None
    if config.model_type in READ_HERE:
        found = read_tensors(gguf, names, reference.model, path.name)
    else:
        model = _loaded(request, path, read_as)
        found = find(reference.model, model)
    stored = _described(gguf, names, found, file=path.name)
    if model is None or read_as is not config:
        model = dequantized(
            type(reference.model), config, stored, dtype=torch.float32, device=request.device
        )
        stored = restored(model, stored)
    notes = [
        f"{path.name} says only part of its model's settings; the rest are those of"
        f" {reference.name}.",
        f"{'Its tokens were compared' if tokens else 'It has no tokens'}; the tokenizer of"
        f" {reference.name} is used.",
    ]
    with open_regular(path) as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return LoadedCheckpoint(
        name=path.name,
        format=f"{_kind(gguf, reader)} gguf",
        kernels=False,
        model=model,
        tokenizer=reference.tokenizer,
        fingerprint=fingerprint,
        stored=stored,
        notes=tuple(notes),
        own_settings=other_settings(reference.model.config, config),
    )


def _loaded(request: CheckpointRequest, path: Path, config: PreTrainedConfig) -> Any:
    """The model as transformers reads it."""
    return load_whole(
        request,
        AutoModelForCausalLM,
        name=str(path.parent),
        gguf_file=path.name,
        config=config,
        dtype=torch.float32,
    )


def _file(request: CheckpointRequest) -> Path:
    """The file itself, from the hub where its name is `owner/name/file.gguf`."""
    name = request.source.name
    path = Path(name).expanduser()
    if path.is_file():
        return path
    parts = name.split("/")
    if len(parts) > 2 and not name.startswith((".", "/", "~")) and not Path(parts[0]).is_dir():
        repository, file = "/".join(parts[:2]), "/".join(parts[2:])
        revision = request.source.revision
        guarded(request.source, lambda: require_answer(repository, file, revision))
        return Path(
            guarded(request.source, lambda: hf_hub_download(repository, file, revision=revision))
        )
    raise ModelError(
        f"There is no file {name}.",
        "a .gguf file, or of a hub repository owner/name/file.gguf.",
        "check the spelling.",
    )


def _reader(gguf: Any, path: Path) -> Any:
    require_whole_header(path)
    try:
        return gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, OverflowError, TypeError, OSError) as error:
        raise ModelError(
            f"{path.name} cannot be read as GGUF: {type(error).__name__}: {error}.",
            "a whole GGUF file of version 2 or 3.",
            "compare its size with the original's and fetch it again.",
        ) from error


def _require_same(reference: Loaded, name: str, reader: Any) -> bool:
    """Raises with the first difference from the reference; whether there were tokens to compare."""
    config = reference.model.config.get_text_config()
    architecture = str(says(reader, "general.architecture"))
    expected = WRITTEN_AS.get(config.model_type, config.model_type)
    if _plain(architecture) != _plain(expected):
        raise ModelError(
            f"{name} is a {architecture}, {reference.name} a {config.model_type}.",
            "two models of one architecture.",
            REMEDY,
        )
    if config.model_type == "gpt_neox":
        raise ModelError(
            f"{name} is a GPT-NeoX: transformers reads no GGUF files of that architecture.",
            "one that it reads: llama, mistral, qwen2, qwen3, qwen3_moe, gpt2, gemma2, ...",
            "the same quantization as bitlens makes it (bitlens list compressions), or another"
            " format.",
        )
    for key, settings in SIZES.items():
        setting = next((one for one in settings if hasattr(config, one)), settings[0])
        found, own = says(reader, f"{architecture}.{key}"), getattr(config, setting, None)
        if found is not None and own is not None and found != own:
            raise ModelError(
                f"{name} says {key} is {found}, in {reference.name} {setting} is {own}.",
                "two models of one architecture and size.",
                REMEDY,
            )
    sizes = {t.name: [int(n) for n in reversed(t.shape)] for t in reader.tensors}
    shape = [config.vocab_size, config.hidden_size]
    if sizes.get("token_embd.weight") != shape:
        raise ModelError(
            f"token_embd.weight is of shape {sizes.get('token_embd.weight')} in {name}, of shape"
            f" {shape} in {reference.name}.",
            "two models of one vocabulary.",
            REMEDY,
        )
    tokens = says(reader, "tokenizer.ggml.tokens")
    if tokens:
        added = reference.tokenizer.added_tokens_decoder
        spaced = {number for number, token in added.items() if not token.special}
        require_tokens(reference, name, tokens, spaced)
    return bool(tokens)


def _plain(architecture: str) -> str:
    return architecture.replace("_", "").replace("-", "")


def _configurations(
    reference: Loaded, name: str, reader: Any
) -> tuple[PreTrainedConfig, PreTrainedConfig]:
    """The twin's, and the one under which transformers reads the file."""
    config = ordinary(reference.model.config)
    take_settings(config.get_text_config(), name, reader)
    if any(tensor.name == "output.weight" for tensor in reader.tensors):
        # Read as tied, the file's own unembedding would be dropped.
        config.tie_word_embeddings = False
    written = READ_AS.get(config.model_type)
    if written is None:
        return config, config
    given = config.to_dict()
    for key in ("model_type", "architectures", "transformers_version"):
        given.pop(key, None)
    return config, AutoConfig.for_model(written, **given)


def _described(
    gguf: Any, names: Names, stored: Mapping[str, Stored], file: str
) -> dict[str, Stored]:
    """Entries with the type in which the file holds each. One matrix of each kind and type is
    read a second time, and refused where the numbers are not the same."""
    tried = set()
    described = {}
    for name, entry in stored.items():
        found = names.tensors_of(name)
        if not found and name.endswith(".weight"):
            # A tied unembedding is stored once, as the embedding.
            found = [names.tensors["token_embd.weight"]]
        described[name] = replace(entry, **_type(gguf, found))
        kind = (re.sub(r"\d+", "", name), described[name].format)
        if kind not in tried and entry.weight().ndim > 1:
            _require_numbers(file, name, described[name], found)
        tried.add(kind)
    return described


def _require_numbers(file: str, name: str, stored: Stored, tensors: list[Any]) -> None:
    """Are these the numbers of the file, in whatever order? llama.cpp reorders rows."""
    parts = []
    for tensor in tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))
        parts.append(stand_for(tensor.tensor_type.name, tensor.data, shape))
    if any(part is None for part in parts):
        return
    own = np.sort(np.concatenate([part.ravel() for part in parts if part is not None]))
    theirs = np.sort(stored.weight().cpu().numpy().ravel())
    if own.shape != theirs.shape or np.linalg.norm(own - theirs) > DIFFERENCE * np.linalg.norm(own):
        raise ModelError(
            f"{name} ({stored.format}) is not what its blocks in {file} stand for.",
            "one meaning of what is stored: a library that knows this type.",
            "another version of gguf or transformers, or the model in another type.",
        )


def _type(gguf: Any, tensors: list[Any]) -> dict[str, Any]:
    formats = sorted({t.tensor_type.name for t in tensors})
    block = min(gguf.GGML_QUANT_SIZES[t.tensor_type][0] for t in tensors)
    bits = 8 * sum(int(t.n_bytes) for t in tensors) / sum(int(t.n_elements) for t in tensors)
    group = SUBGROUPS.get(formats[0], block)
    return {"bits": bits, "format": " and ".join(formats), "group": group if block > 1 else 0}


def _kind(gguf: Any, reader: Any) -> str:
    """The mixture of types as its maker called it, or else the type of most weights."""
    file_type = says(reader, "general.file_type")
    if file_type is not None:
        try:
            name: str = (
                gguf.LlamaFileType(file_type).name.removeprefix("MOSTLY_").removeprefix("ALL_")
            )
            return name
        except ValueError:
            pass  # a type newer than the library
    weights: Counter[str] = Counter()
    for tensor in reader.tensors:
        weights[tensor.tensor_type.name] += int(tensor.n_elements)
    return weights.most_common(1)[0][0]
