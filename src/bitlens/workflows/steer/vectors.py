"""Steering vectors: made as a difference of means, or read from a file; no pickle is read.

Ours is a safetensors file with one tensor a site, `resid.12` `[width]` float32, what is added to
that block's output; its metadata say where it comes from.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from bitlens.errors import InputError, told
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
    found = _of_gguf(path) if path.suffix == ".gguf" else _of_safetensors(path)
    mine = {name: of for name, of in found.items() if _block(name) == block}
    if not mine:
        raise InputError(
            f"{source} has no vector for block {block}: it has {', '.join(sorted(found)[:6])}.",
            FORMS,
            "--site resid.N with an N that is there.",
        )
    name, vector = next(iter(mine.items()))
    flat = np.array(vector, dtype=np.float32).ravel()
    if flat.shape != (width,) or not np.isfinite(flat).all() or not flat.any():
        raise InputError(
            f"{name} of {source} has the shape {list(np.shape(vector))}"
            + ("." if flat.shape != (width,) else ", and numbers that are nought or not finite."),
            f"{width} finite numbers, as many as the model is wide.",
            "a vector that was made for this model.",
        )
    return torch.from_numpy(flat)


def save_vector(path: Path, site: str, vector: Tensor, about: dict[str, str]) -> None:
    """Write a vector as `read_vector` reads it."""
    array = vector.detach().cpu().numpy().astype(np.float32)
    write(path, save({site: array}, metadata={"format": "bitlens-vectors-1", **about}))


def _block(name: str) -> int | None:
    match = re.search(r"(\d+)$", name)
    return int(match[1]) if match else None


def _of_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).float().numpy() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError, OSError) as error:
        raise _unreadable(path, error) from error


def _of_gguf(path: Path) -> dict[str, Any]:
    import gguf

    try:
        reader = gguf.GGUFReader(path)
        return {
            tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type)
            for tensor in reader.tensors
        }
    except Exception as error:  # The reader raises whatever its bytes lead it to.
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read: {told(error)}.", FORMS, "fetch or write it again.")
