"""Folders that are no SAEs, or not as they say."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.hostile import Case, Refused, case, rewrite


def folder(name: str, said: str, change: Callable[[Path], object]) -> Case:
    return case(name, said, lambda place: place.of_sae(change))


def config(name: str, said: str, **changed: Any) -> Case:
    return folder(name, said, lambda sae: rewrite(sae / "cfg.json", changed))


def weights(name: str, said: str, change: Callable[[dict[str, Any]], object]) -> Case:
    def changed(sae: Path) -> None:
        tensors = load_file(sae / "sae_weights.safetensors")
        change(tensors)
        save_file(tensors, sae / "sae_weights.safetensors")

    return folder(name, said, changed)


def put(path: str, content: bytes) -> Callable[[Path], object]:
    return lambda sae: (sae / path).write_bytes(content)


def link(name: str) -> Callable[[Path], object]:
    """The file is moved out of the folder, and a link to it put in its place."""

    def change(sae: Path) -> None:
        (sae / name).rename(sae.parent / "elsewhere")
        (sae / name).symlink_to(sae.parent / "elsewhere")

    return change


CASES = [
    folder("a config elsewhere", "cfg.json of .* is a link to .*outside", link("cfg.json")),
    folder("weights elsewhere", "is a link to .*outside", link("sae_weights.safetensors")),
    folder(
        "figures elsewhere",
        "sparsity.safetensors of .* is a link to",
        lambda sae: (sae / "sparsity.safetensors").symlink_to("/etc/passwd"),
    ),
    folder("no config", "cfg.json|SAE", lambda sae: (sae / "cfg.json").unlink()),
    folder("a config that is empty", "cfg.json", put("cfg.json", b"")),
    folder("a config that is a list", "cfg.json", put("cfg.json", b"[]")),
    folder("a config 100,000 deep", "cfg.json", put("cfg.json", b"[" * 100_000)),
    folder("a config of other bytes", "cfg.json", put("cfg.json", b"\xff\xfe{}")),
    config("an unknown architecture", "silly", architecture="silly"),
    config("an architecture that is a number", "architecture|5", architecture=5),
    config("no site", "does not say where", hook_name=None),
    config("an unknown site", "blocks.1.hook_silly", hook_name="blocks.1.hook_silly"),
    config("a block that is not there", "99", hook_name="blocks.99.hook_resid_post"),
    config("another width", "d_in|width|65", d_in=65),
    config("other latents", "d_sae|latents|17", d_sae=17),
    config("a width that is a word", "d_in|wide", d_in="wide"),
    config("k of a million", "k", architecture="topk", k=1_000_000),
    config("k of nought", "k", architecture="topk", k=0),
    config("an unknown normalisation", "silly", normalize_activations="silly"),
    folder(
        "no weights", "safetensors|weights", lambda sae: (sae / "sae_weights.safetensors").unlink()
    ),
    folder(
        "weights that are text", "safetensors", put("sae_weights.safetensors", b"no tensors here")
    ),
    folder(
        "weights cut short",
        "safetensors",
        lambda sae: os.truncate(sae / "sae_weights.safetensors", 900),
    ),
    weights("no decoder", "has no decoder", lambda t: t.pop("W_dec")),
    weights("no bias", "b_enc", lambda t: t.pop("b_enc")),
    weights(
        "a decoder of another shape",
        "d_sae 3",
        lambda t: t.update(W_dec=torch.zeros(3, 3)),
    ),
    weights("a weight that is no number", "finite|W_enc", lambda t: t["W_enc"].fill_(torch.nan)),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_saes_are_refused(refused: Refused, case: Case) -> None:
    """With the file and the field."""
    refused(case)
