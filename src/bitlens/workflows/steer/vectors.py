"""Steering vectors: made as a difference of means, or read from a file; no pickle is read.

Ours is a safetensors file with one tensor a site, `resid.12` `[width]` float32, what is added to
that block's output; its metadata say where it comes from.
"""

import re
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from bitlens.compression.checkpoints.checkpoint import library
from bitlens.compression.checkpoints.gguf_header import require_whole_header
from bitlens.errors import BitlensError, InputError, told
from bitlens.results.files.home import with_home
from bitlens.results.files.reading import open_regular
from bitlens.results.files.writing import write

LARGEST = 1 << 30
"""Bytes of a file of vectors: one a block of the largest models takes a thousandth."""
FORMS = "safetensors with a tensor a block, resid.12 or layer 12, or a GGUF control vector"


def read_vector(source: str, site: str, width: int) -> Tensor:
    """`[width]`: the vector that a file has for the block of a site.

    Names end in the block's number: ours (`resid.12`), `layer_activations.12` as steering-vectors
    has it, or the `direction.12` of a GGUF control vector (repeng, llama.cpp). BitlensError for a
    file that has none of this width, or numbers that are not finite.
    """
    path = Path(with_home(source))
    block = int(site.partition(".")[2])
    with open_regular(path) as file:
        size = file.seek(0, 2)
    if size > LARGEST:
        raise InputError(f"{source} has {size:,} bytes.", f"at most {LARGEST:,}.", "another file.")
    read = _of_gguf if path.suffix == ".gguf" else _of_safetensors
    name, vector = read(path, block, width)
    flat = np.array(vector, dtype=np.float32).ravel()
    if not np.isfinite(flat).all() or not flat.any():
        raise _unfit(path, name, "holds numbers that are not finite, or only noughts", width)
    return torch.from_numpy(flat)


def save_vector(path: Path, site: str, vector: Tensor, about: dict[str, str]) -> None:
    """Write a vector as `read_vector` reads it."""
    array = vector.detach().cpu().numpy().astype(np.float32)
    write(path, save({site: array}, metadata={"format": "bitlens-vectors-1", **about}))


def _chosen(path: Path, names: Iterable[str], block: int) -> str:
    """The one name that ends in the block's number."""
    known = sorted(names)
    mine = [name for name in known if (end := re.search(r"(\d+)$", name)) and int(end[1]) == block]
    if not mine:
        raise InputError(
            f"{path.name} has no vector for block {block}: it has {', '.join(known[:6])}.",
            FORMS,
            "--site resid.N with an N that is there.",
        )
    if len(mine) > 1:
        raise InputError(
            f"{path.name} has {len(mine)} vectors for block {block}: {', '.join(mine[:6])}.",
            "one a block.",
            "a file with the one that is meant.",
        )
    return mine[0]


def _require_width(path: Path, name: str, shape: Sequence[int], width: int) -> None:
    """Before its numbers are read: a file may hold something much larger."""
    if prod(shape) != width:
        raise _unfit(path, name, f"has the shape {[int(n) for n in shape]}", width)


def _unfit(path: Path, name: str, what: str, width: int) -> InputError:
    return InputError(
        f"{name} of {path.name} {what}.",
        f"{width} finite numbers, as many as the model is wide.",
        "a vector that was made for this model.",
    )


def _of_safetensors(path: Path, block: int, width: int) -> tuple[str, np.ndarray]:
    try:
        with safe_open(path, framework="pt") as file:
            name = _chosen(path, file.keys(), block)
            _require_width(path, name, file.get_slice(name).get_shape(), width)
            return name, file.get_tensor(name).float().numpy()
    except (SafetensorError, ValueError, RuntimeError, OSError) as error:
        raise _unreadable(path, error) from error


def _of_gguf(path: Path, block: int, width: int) -> tuple[str, np.ndarray]:
    gguf = library("gguf", "gguf", needed_for="A .gguf file")
    require_whole_header(path)
    try:
        tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
        name = _chosen(path, tensors, block)
        _require_width(path, name, tensors[name].shape.tolist(), width)
        return name, gguf.dequantize(tensors[name].data, tensors[name].tensor_type)
    except BitlensError:
        raise
    except Exception as error:  # The reader raises whatever its bytes lead it to.
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read: {told(error)}.", FORMS, "fetch or write it again.")
