"""What a folder's files hold for each parameter: names, dtypes and shapes; tensors on demand."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open
from torch import Tensor

from bitlens.models.files import weight_files

PARTS = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
"""Fused parameters of experts, and the modules of one expert that libraries make of them."""

HEADERS = ("weight_shape", "shape", "nbits", "axis", "group_size")
"""What says how the rest is laid out; not counted among the bits of a weight."""


class Leaf(NamedTuple):
    """One tensor of a file."""

    file: Path
    name: str
    dtype: str
    """As safetensors calls it: `F16`, `I32`, `F8_E4M3`."""
    shape: tuple[int, ...]

    def read(self) -> Tensor:
        """The tensor itself, from the file."""
        with safe_open(self.file, framework="pt") as tensors:
            tensor: Tensor = tensors.get_tensor(self.name)
            return tensor

    @property
    def width(self) -> int:
        """Bits of one number."""
        return int(re.findall(r"\d+", self.dtype.replace("BOOL", "8"))[0])

    @property
    def bits(self) -> int:
        """Bits of the whole tensor."""
        return self.width * math.prod(self.shape)


Leaves = Mapping[str, Leaf]
"""What is held of one module: `weight`, or `weight_packed` and `weight_scale`, by these names."""

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Held:
    """Everything in the files of a folder, by module."""

    def __init__(self, folder: Path) -> None:
        self.modules: dict[str, dict[str, Leaf]] = {}
        for leaf in _leaves(folder):
            module, own = _split(leaf.name)
            self.modules.setdefault(module, {})[own] = leaf

    def of(self, parameter: str, prefix: str = "") -> list[Leaves]:
        """What is held of a parameter, by its name in a model; of the stacked weights of experts
        that libraries take apart, expert by expert what each part holds. Empty: not found.

        `prefix`: what families put before the names, in some files and not in others."""
        path, _, leaf = parameter.rpartition(".")
        for place in (path, path.removeprefix(f"{prefix}."), f"{prefix}.{path}"):
            if place in self.modules and (found := _about(self.modules[place], leaf)):
                return [found]
            if leaf in PARTS and f"{place}.0.{PARTS[leaf][0]}" in self.modules:
                return list(self._apart(place, PARTS[leaf]))
        return []

    def _apart(self, experts: str, parts: tuple[str, ...]) -> Iterator[Leaves]:
        number = 0
        while f"{experts}.{number}.{parts[0]}" in self.modules:
            for part in parts:
                yield _about(self.modules.get(f"{experts}.{number}.{part}", {}), "weight")
            number += 1


def is_coded(leaves: Leaves) -> bool:
    """Whether this is anything but a plain tensor of 16 bits or more."""
    return len(leaves) > 1 or any(leaf.dtype not in DTYPES for leaf in leaves.values())


def bits(leaves: Leaves) -> float:
    """Bits of all that is held to make up the weights of a matrix."""
    return sum(leaf.bits for name, leaf in leaves.items() if name not in HEADERS)


def _about(leaves: Leaves, parameter: str) -> Leaves:
    """The leaves of a parameter: a bias is no part of a weight, nor are scales of inputs."""
    if parameter == "weight":
        return {n: leaf for n, leaf in leaves.items() if not re.match(r"bias|input_|output_", n)}
    names = (parameter, f"{parameter}_blocks", f"{parameter}_scales")
    return {n: leaves[n] for n in names if n in leaves}


def _split(name: str) -> tuple[str, str]:
    """Module and leaf; bitsandbytes hangs its leaves on `weight`."""
    module, found, rest = name.partition(".weight.")
    if found:
        return module, f"weight.{rest}"
    module, _, leaf = name.rpartition(".")
    return module, leaf


def _leaves(folder: Path) -> Iterator[Leaf]:
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (a file of safetensors is no mapping)
                part = tensors.get_slice(name)
                yield Leaf(file, name, part.get_dtype(), tuple(part.get_shape()))
