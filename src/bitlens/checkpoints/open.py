"""Which format is this checkpoint in? Found out from its own files, and read accordingly."""

import copy
import importlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from bitlens.checkpoints import gguf, hqq
from bitlens.checkpoints.checkpoint import Checkpoint, Found, Request, quantization
from bitlens.checkpoints.same import require_same
from bitlens.checkpoints.stored import dequantized, restored
from bitlens.compress.checkpoint import Checkpoint as Settings
from bitlens.errors import BitlensError, told
from bitlens.models.files import fingerprint
from bitlens.models.load import Loaded, configuration, guarded, name_of, require_finite
from bitlens.models.source import ModelSource

READERS = {
    "bitsandbytes": "bnb",
    "bitsandbytes_4bit": "bnb",
    "bitsandbytes_8bit": "bnb",
    "gptq": "gptq",
    "awq": "gptq",
    "compressed-tensors": "compressed",
    "hqq": "hqq",
    "torchao": "torchao",
    None: "plain",
}
"""By quant_method in config.json, the module of this package that reads it."""

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")


def open_checkpoint(
    settings: Settings, reference: Loaded, trust_remote_code: bool = False
) -> Checkpoint:
    """The checkpoint as a twin of the reference.

    Architecture, vocabulary, shapes and tokens are compared before any weight is read. Raises
    BitlensError for the first difference, for a format that cannot be read, for a library that
    is not installed, and for weights that are no numbers.
    """
    path = os.path.expanduser(settings.path)
    source = ModelSource(path, settings.revision, trust_remote_code=trust_remote_code)
    request = Request(source, settings.run, reference)
    try:
        checkpoint = gguf.open_file(request) if path.endswith(".gguf") else _open_folder(request)
        for name, entry in checkpoint.stored.items():
            require_finite(source, name, entry.weight())
    except BitlensError:
        raise
    except Exception as error:
        # Nine libraries read what somebody else wrote: there is no list of what they may raise.
        raise BitlensError(
            f"{name_of(source)} cannot be read: {_short(error)}.",
            "a whole checkpoint, as its library wrote it.",
            "compare its files with the original's and fetch them again; else run=weights, or the"
            " model quantized another way.",
        ) from error
    return checkpoint


def _open_folder(request: Request) -> Checkpoint:
    source, reference = request.source, request.reference
    common = {"revision": source.revision, "trust_remote_code": source.trust_remote_code}
    config = configuration(source)
    method = quantization(config).get("quant_method")
    folder = Path(source.name)
    if method is None and folder.is_dir() and guarded(source, lambda: hqq.is_hqq(folder)):
        method = "hqq"
    reader = _reader(source, method)
    name = name_of(source)
    tokenizer = _tokenizer(source, common)
    require_same(reference, name, config, tokenizer, source.trust_remote_code)
    found = _as_asked(request, reader.read(request))
    notes = found.notes
    if tokenizer is None:
        notes = (*notes, f"{name} has no tokenizer; that of {reference.name} is used.")
    return Checkpoint(
        name,
        found.format,
        found.kernels,
        found.model,
        tokenizer or reference.tokenizer,
        fingerprint(source, config, type(found.model)),
        found.stored,
        notes,
        found.kernels and found.padding_matters,
    )


def _reader(source: ModelSource, method: Any) -> Any:
    method = getattr(method, "value", method)
    if method not in READERS:
        raise BitlensError(
            f"{source.name} is quantized with {method!r}.",
            f"one of {', '.join(name for name in READERS if name)}, or a .gguf file.",
            "the same model in one of these formats.",
        )
    return importlib.import_module(f"bitlens.checkpoints.{READERS[method]}")


def _tokenizer(source: ModelSource, common: dict[str, Any]) -> PreTrainedTokenizerBase | None:
    folder = Path(source.name)
    if folder.is_dir() and not any((folder / name).is_file() for name in TOKENIZERS):
        return None
    return guarded(source, lambda: AutoTokenizer.from_pretrained(source.name, **common))


def _as_asked(request: Request, found: Found) -> Found:
    """With real kernels, or with dequantized weights in ordinary matrices."""
    if not found.kernels:
        if request.run == "kernels":
            raise BitlensError(
                f"{request.source.name} ({found.format}) is read as ordinary matrices; there are"
                " no kernels to run.",
                "run=weights for this format.",
                f"checkpoint:{request.source.name}",
            )
        return found
    if request.run == "weights":
        return _ordinary(request, found, "as asked")
    reason = found.wrong or _trial(request, found)
    if not reason:
        return found
    if request.run == "kernels":
        raise BitlensError(
            f"The kernels of {request.source.name} ({found.format}) cannot be used: {reason}.",
            "a machine on which they run, and rightly.",
            f"checkpoint:{request.source.name},run=weights",
        )
    return _ordinary(request, found, f"because the kernels cannot be used here ({reason})")


@torch.no_grad()
def _trial(request: Request, found: Found) -> str:
    """Why the model does not run on this machine; empty if it does."""
    try:
        found.model(torch.zeros((1, 2), dtype=torch.long, device=request.device), use_cache=False)
    except Exception as error:
        return _short(error)
    return ""


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {told(error)}"


def _ordinary(request: Request, found: Found, why: str) -> Found:
    reference = request.reference.model
    config = copy.deepcopy(reference.config)
    config.tie_word_embeddings = found.model.config.tie_word_embeddings
    model = dequantized(type(reference), config, found.stored, reference.dtype, request.device)
    note = f"{found.format}: dequantized weights in ordinary matrices, {why}."
    return replace(
        found,
        kernels=False,
        model=model,
        stored=restored(model, found.stored),
        notes=(note,),
    )
