"""A hash of tensors and of what is said of them, in the header of their file: are these the ones
that were written? One entry, so that the same content is the same bytes."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bitlens.results.records import to_json

ENTRY = "about"


def sealed(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> dict[str, str]:
    """The header of a safetensors file with these tensors, of which `about` is said."""
    return {ENTRY: to_json({"about": about, "sha256": _digest(tensors, about)})}


def unsealed(tensors: Mapping[str, Tensor], header: Mapping[str, str] | None) -> dict[str, Any]:
    """What is said of tensors that are as they were written; ValueError of those that are not."""
    try:
        content = json.loads((header or {})[ENTRY])
        about: dict[str, Any] = content["about"]
        same = content["sha256"] == _digest(tensors, about)
    except (ValueError, KeyError, TypeError, RecursionError):
        same = False
    if not same:
        raise ValueError("its bytes are not those that were written")
    return about


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """The SHA-256 over names, dtypes, shapes and every byte."""
    whole = hashlib.sha256(to_json(about).encode())
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        whole.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()
