"""Opening of a checkpoint: its format is found from its own files, and it is read accordingly."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from bitlens.compression.checkpoints.checkpoint import (
    CheckpointRequest,
    LoadedCheckpoint,
    ReadCheckpoint,
    ordinary,
    quantization,
)
from bitlens.compression.checkpoints.held import Held
from bitlens.compression.checkpoints.pretrained import folder
from bitlens.compression.checkpoints.readers import Read, readers
from bitlens.compression.checkpoints.same import other_settings, require_same
from bitlens.compression.checkpoints.second_reading import require_agreement
from bitlens.compression.checkpoints.stored import dequantized, restored
from bitlens.compression.methods.checkpoint import Checkpoint as Settings
from bitlens.errors import BitlensError, ModelError, told
from bitlens.models.configuration import configuration
from bitlens.models.explained import guarded
from bitlens.models.files import fingerprint, folder_of
from bitlens.models.folder import require_announced
from bitlens.models.load import Loaded, require_finite
from bitlens.models.source import ModelSource, name_of

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")


def open_checkpoint(
    settings: Settings, reference: Loaded, trust_remote_code: bool = False
) -> LoadedCheckpoint:
    """The checkpoint as a twin of the reference.

    Architecture, vocabulary, shapes and tokens are compared before any weight is read. Raises
    BitlensError for the first difference, for a format that cannot be read, for a library that
    is not installed, and for weights that are no numbers.
    """
    path = os.path.expanduser(settings.path)
    source = ModelSource(path, revision=settings.revision, trust_remote_code=trust_remote_code)
    request = CheckpointRequest(source, settings.run, reference)
    try:
        read_file = readers().by_suffix.get(Path(path).suffix)
        checkpoint = read_file(request) if read_file else _open_folder(request)
        for name, entry in checkpoint.stored.items():
            require_finite(source, name, entry.weight())
    except BitlensError:
        raise
    except Exception as error:
        # Nine libraries read what somebody else wrote: there is no list of what they may raise.
        raise ModelError(
            f"{name_of(source)} cannot be read: {_short(error)}.",
            "a whole checkpoint, as its library wrote it.",
            "compare its files with the original's and fetch them again; else run=weights, or the"
            " model quantized another way.",
        ) from error
    return checkpoint


def _open_folder(request: CheckpointRequest) -> LoadedCheckpoint:
    source, reference = request.source, request.reference
    common = {"revision": source.revision, "trust_remote_code": source.trust_remote_code}
    config = configuration(source)
    request = replace(request, config=config)
    method = guarded(source, lambda: _method(request))
    read = _reader(source, method)
    name = name_of(source)
    tokenizer = _tokenizer(source, common)
    require_same(
        reference, name, config, tokenizer=tokenizer, trust_remote_code=source.trust_remote_code
    )
    found = read(request)
    files = folder_of(source) or folder(request)
    if method is None:
        require_announced(source.name, files)  # those of a hub id are here only now
    held, settings = Held(files), quantization(config)
    unread = require_agreement(name, reference.model, found.stored, held=held, settings=settings)
    found = _as_asked(request, replace(found, stored=found.exact or found.stored))
    notes = found.notes
    if unread:
        notes = (*notes, f"Only {found.format}'s own library has read {', '.join(unread)}.")
    if tokenizer is None:
        notes = (*notes, f"{name} has no tokenizer; that of {reference.name} is used.")
    return LoadedCheckpoint(
        name=name,
        format=found.format,
        kernels=found.kernels,
        model=found.model,
        tokenizer=tokenizer or reference.tokenizer,
        fingerprint=fingerprint(source, config, type(found.model)),
        stored=found.stored,
        notes=notes,
        padding_matters=found.kernels and found.padding_matters,
        own_settings=other_settings(reference.model.config, config),
        left_out=found.left_out,
        arithmetic=found.arithmetic if found.kernels else None,
    )


def _method(request: CheckpointRequest) -> Any:
    """What config.json says, or else what the files of a folder themselves do; None for a folder
    that nothing quantized."""
    method = quantization(request.config).get("quant_method")
    path = Path(request.source.name)
    if method is not None:
        return getattr(method, "value", method)
    if not path.is_dir():
        return None
    own = next((name for name, is_own in readers().own.items() if is_own(path)), None)
    if own is None:
        require_announced(request.source.name, path)
    return own


def _reader(source: ModelSource, method: Any) -> Read:
    known = readers().by_method
    if method not in known:
        raise ModelError(
            f"{source.name} is quantized with {method!r}.",
            f"one of {', '.join(sorted(name for name in known if name))}, or a .gguf file.",
            "the same model in one of these formats.",
        )
    return known[method]


def _tokenizer(source: ModelSource, common: dict[str, Any]) -> PreTrainedTokenizerBase | None:
    folder = Path(source.name)
    if folder.is_dir() and not any((folder / name).is_file() for name in TOKENIZERS):
        return None
    tokenizer: PreTrainedTokenizerBase | None = guarded(
        source, lambda: AutoTokenizer.from_pretrained(source.name, **common)
    )
    return tokenizer


def _as_asked(request: CheckpointRequest, found: ReadCheckpoint) -> ReadCheckpoint:
    """With real kernels, or with dequantized weights in ordinary matrices."""
    if not found.kernels:
        if request.run == "kernels":
            raise ModelError(
                f"{request.source.name} ({found.format}) is read as ordinary matrices; there are"
                " no kernels to run.",
                "run=weights for this format.",
                f"checkpoint:{request.source.name}",
            )
        return found
    if request.run == "weights":
        return _ordinary(request, found, "as asked")
    if request.run == "auto" and found.undeployed:
        return _ordinary(request, found, f"because {found.undeployed}")
    reason = found.wrong or _trial(request, found)
    if not reason:
        return found
    if request.run == "kernels":
        raise ModelError(
            f"The kernels of {request.source.name} ({found.format}) cannot be used: {reason}.",
            "a machine on which they run, and rightly.",
            f"checkpoint:{request.source.name},run=weights",
        )
    return _ordinary(request, found, f"because the kernels cannot be used here ({reason})")


@torch.no_grad()
def _trial(request: CheckpointRequest, found: ReadCheckpoint) -> str:
    """Why the model does not run on this machine; empty if it does."""
    try:
        found.model(torch.zeros((1, 2), dtype=torch.long, device=request.device), use_cache=False)
    except Exception as error:
        return _short(error)
    return ""


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {told(error)}"


def _ordinary(request: CheckpointRequest, found: ReadCheckpoint, why: str) -> ReadCheckpoint:
    reference = request.reference.model
    config = ordinary(request.config)
    config.tie_word_embeddings = found.model.config.tie_word_embeddings
    config._attn_implementation = reference.config._attn_implementation
    # Nothing shorter holds every product of a code and its scale.
    model = dequantized(
        type(reference), config, found.stored, dtype=torch.float32, device=request.device
    )
    note = f"{found.format}: dequantized weights in ordinary matrices, {why}."
    return replace(
        found,
        kernels=False,
        model=model,
        stored=restored(model, found.stored),
        notes=(note,),
    )
