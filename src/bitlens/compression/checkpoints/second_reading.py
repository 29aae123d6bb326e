"""Second reading: what the files say of each parameter, read without the library, beside it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from bitlens.compression.checkpoints.checkpoint import Stored
from bitlens.compression.checkpoints.codes import Settings, stands_for
from bitlens.compression.checkpoints.held import DTYPES, PARTS, Held, Leaves, is_coded
from bitlens.errors import ModelError

DIFFERENCE = 0.005
"""Of the size of a matrix. Libraries that hold scales in bfloat16 are within 0.002; codes read by
the scales of another group, or zeros off by one, are beyond 0.02."""


def require_agreement(
    name: str,
    reference: nn.Module,
    stored: Mapping[str, Stored],
    held: Held,
    settings: Settings,
) -> tuple[str, ...]:
    """Raises with the first matrix that differs; one of each kind, format, group and layout in the
    files is read a second time. The formats of those for which there is no second reader."""
    tried: set[object] = set()
    unread = set()
    for parameter, entry in stored.items():
        parts = held.of(parameter, _prefix(reference))
        if not parts:
            continue  # tied, or under another name
        layout = tuple((n, leaf.dtype, leaf.shape) for n, leaf in sorted(parts[0].items()))
        kind = (re.sub(r"\d+", "", parameter), entry.format, entry.group, layout)
        if kind in tried:
            continue
        tried.add(kind)
        one = parts[: len(PARTS[leaf])] if (leaf := _apart(parameter, parts)) else parts
        own = read_again(reference, parameter, one, settings)
        if own is None:
            unread.add(entry.format)
            continue
        theirs = entry.weight().cpu()
        error = _difference(theirs[:1] if leaf else theirs, own)
        if error > DIFFERENCE:
            raise ModelError(
                f"{parameter} of {name} ({entry.format}) is not what its files say: the library's"
                f" weights and the codes times the scales in the files differ by {error:.0%} of"
                " their size.",
                "one meaning of what is stored: a library that knows this layout.",
                "another version of the library, or the model quantized another way.",
            )
    return tuple(sorted(unread))


def as_in_files(
    reference: nn.Module, stored: Mapping[str, Stored], held: Held, settings: Settings
) -> dict[str, Stored]:
    """Entries without what the library rounded when it loaded: codes times scales in float32,
    and everything else in the dtype it is stored in."""
    parameters = dict(reference.named_parameters(remove_duplicate=False))
    known: dict[int, Sequence[Leaves]] = {}
    made = {}
    for name, entry in stored.items():
        # What is tied is in the files once.
        parts = held.of(name, _prefix(reference)) or known.get(id(parameters[name]), [])
        known[id(parameters[name])] = parts
        if parts:
            entry = replace(
                entry, weight=_Reading(reference, name, parts, settings=settings, entry=entry)
            )
            (leaf, *more) = parts[0].values()
            if not more and leaf.dtype in DTYPES:
                entry = replace(entry, format=DTYPES[leaf.dtype], bits=float(leaf.width))
        made[name] = entry
    return made


class _Reading:
    """Reads a parameter anew at every call; as the library has it where nothing else reads it."""

    def __init__(
        self,
        reference: nn.Module,
        parameter: str,
        parts: Sequence[Leaves],
        settings: Settings,
        entry: Stored,
    ) -> None:
        self._asked = (reference, parameter, parts, settings)
        self._entry = entry

    def __call__(self) -> Tensor:
        own = read_again(*self._asked)
        return self._entry.weight() if own is None else own


def read_again(
    reference: nn.Module, parameter: str, parts: Sequence[Leaves], settings: Settings
) -> Tensor | None:
    """A parameter as the reference has it, from all that is held of it; None where nothing here
    knows its format."""
    read = [stands_for({n: leaf.read() for n, leaf in p.items()}, settings) for p in parts]
    made = [weight for weight in read if weight is not None]
    if len(made) < len(read):
        return None
    if leaf := _apart(parameter, parts):
        each = len(PARTS[leaf])
        return torch.stack([torch.cat(made[n : n + each]) for n in range(0, len(made), each)])
    (whole,) = made
    module = reference.get_submodule(parameter.rpartition(".")[0])
    return whole.T if isinstance(module, Conv1D) and is_coded(parts[0]) else whole


def _apart(parameter: str, parts: Sequence[Leaves]) -> str:
    """The stacked parameter of experts that are taken apart in the files; else empty."""
    leaf = parameter.rpartition(".")[2]
    return leaf if leaf in PARTS and not any(n.startswith(leaf) for n in parts[0]) else ""


def _difference(theirs: Tensor, own: Tensor) -> float:
    if theirs.shape != own.shape:
        return float("inf")
    return float((theirs - own).norm() / own.norm().clamp(min=1e-30))


def _prefix(reference: nn.Module) -> str:
    return str(getattr(reference, "base_model_prefix", ""))
