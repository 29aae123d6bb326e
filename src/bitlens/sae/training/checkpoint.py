"""Checkpoints of trainings that go on where they were stopped: one file, whole or absent;
safetensors, never a pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from bitlens.errors import told
from bitlens.models.checksums import sealed, unsealed
from bitlens.results.files.reading import open_regular
from bitlens.results.files.writing import write
from bitlens.results.json_files import damaged

FILE = "checkpoint.safetensors"


@dataclass(frozen=True, eq=False)
class TrainingCheckpoint:
    """What a training goes on from."""

    tensors: Mapping[str, Tensor]
    progress: Mapping[str, Any]
    """Steps done, what was seen on the way, and what made it, as JSON."""


def write_checkpoint(folder: Path, checkpoint: TrainingCheckpoint) -> None:
    """All of it, or what was there before."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    write(folder / FILE, save(tensors, sealed(tensors, checkpoint.progress)))


def read_checkpoint(folder: Path, device: torch.device | str) -> TrainingCheckpoint | None:
    """None where there is none; BitlensError for one that is damaged."""
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        with open_regular(file) as opened:
            data = opened.read()
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        progress = unsealed(tensors, header["__metadata__"])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        again = f"delete {file}: the training begins anew."
        raise damaged(file, told(error), again) from None
    # Copies: results may differ in the last bit with where in memory a tensor begins.
    return TrainingCheckpoint(
        {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}, progress
    )


def remove_checkpoint(folder: Path) -> None:
    """The training is over."""
    (folder / FILE).unlink(missing_ok=True)
