"""Coverage: what was really compressed, measured from the weights, not the settings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.compression.numerics.weights import frobenius
from bitlens.errors import ModelError
from bitlens.results.counts import count

_PIECE = 2**20
"""Weights compared at a time, so that comparing needs little memory and stays in cache."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How a weight is stored, or would be where the twin is deployed."""

    format: str
    """The compression as text, or a dtype."""
    bits: float
    """Bits per weight with scales and zeros included."""
    group: int = 0
    """Input columns within a row that share a scale; 0: whole rows or more do, or nothing does."""
    note: str = ""
    """What a method had to do to succeed, or why the weight was left alone."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One module of a twin, beside the same module of its reference."""

    module: str
    kind: str
    """`block`, `embedding`, `unembedding`, `norm`, `router`, `bias`, ..."""
    compressed: bool
    """Whether it was meant to change; whether it did is for `changed` to say."""
    format: str
    """The compression as text, or the dtype of what was left alone."""
    bits: float
    """Bits per weight with scales and zeros included."""
    group: int
    """Input columns within a row that share a scale; 0: whole rows or more do, or nothing does."""
    parameters: int
    bytes: int
    changed: float
    """Share of the weights that differ from the reference; intact 0."""
    relative_error: float | None
    """||twin - reference|| / ||reference||, Frobenius; intact 0, unrelated about sqrt(2)."""
    sqnr_db: float | None
    """-20 log10 of the relative error."""
    reason: str | None
    """Why there is no relative error or no SQNR."""
    note: str = ""
    """`left alone: router`, `tied to ...`, what a method had to do to succeed."""


@dataclass(frozen=True, kw_only=True)
class CoverageTotal:
    """A coverage table in one line."""

    parameters: int
    changed: float
    """Share of all parameters that differ from the reference."""
    bits: float | None
    """Bits per weight over what was compressed; None where nothing was."""
    whole_bits: float
    """Bits per weight over the whole model."""
    bytes: int
    """Of the whole model."""


def measure(
    name: str, kind: str, reference: Tensor, twin: Tensor | None, *, storage: Storage
) -> Row:
    """How far a twin's weight is from its reference's, of one shape; None: it was left alone.
    BitlensError where the shapes differ."""
    changed, error, size = (0, 0.0, 1.0) if twin is None else _compared(name, reference, twin)
    relative_error: float | None = None
    reason = None
    if not math.isfinite(error + size):
        reason = "weights that are infinite or not a number"
    elif error and not size:
        reason = "the reference is zero"
    else:
        relative_error = error / size if error else 0.0
        if not error:
            reason = "left alone" if twin is None else "identical to the reference"
    return Row(
        module=name,
        kind=kind,
        compressed=twin is not None,
        format=storage.format,
        bits=storage.bits,
        group=storage.group,
        parameters=reference.numel(),
        bytes=math.ceil(reference.numel() * storage.bits / 8),
        changed=changed / reference.numel(),
        relative_error=relative_error,
        sqnr_db=-20 * math.log10(relative_error) if relative_error else None,
        reason=reason,
        note=storage.note,
    )


def tied(name: str, kind: str, *, to: str, storage: Storage) -> Row:
    """The row of a module whose weights are another's: listed, and counted there. `storage`: the
    other's."""
    return Row(
        module=name,
        kind=kind,
        compressed=False,
        format=storage.format,
        bits=storage.bits,
        group=0,
        parameters=0,
        bytes=0,
        changed=0.0,
        relative_error=None,
        sqnr_db=None,
        reason=f"counted under {to}",
        note=f"tied to {to}",
    )


def total(rows: Sequence[Row]) -> CoverageTotal:
    """What share of the model changed, and what the whole of it costs."""
    parameters = sum(row.parameters for row in rows)
    return CoverageTotal(
        parameters=parameters,
        changed=sum(row.changed * row.parameters for row in rows) / parameters,
        bits=_mean_bits([row for row in rows if row.compressed]),
        whole_bits=_mean_bits(rows) or 0.0,
        bytes=sum(row.bytes for row in rows),
    )


def require_change(rows: Sequence[Row], allow_identical: bool) -> None:
    """BitlensError when every weight equals the reference's, unless that is allowed, as it is for
    controls."""
    if allow_identical or any(row.changed for row in rows):
        return
    compressed = [row for row in rows if row.compressed]
    formats = " and ".join(sorted({row.format for row in compressed})) or "The twin"
    raise ModelError(
        f"{formats}: all weights of {count(len(compressed) or len(rows), 'matrix')} are those of"
        " the reference; nothing was compressed.",
        "at least one weight that differs. A reference that is already stored this way, or a"
        " checkpoint that was loaded in full precision, has none.",
        "another setting, or --allow identical if this is intended.",
    )


def _compared(name: str, reference: Tensor, twin: Tensor) -> tuple[int, float, float]:
    """How many weights differ, the norm of their differences, and the reference's norm."""
    if reference.shape != twin.shape:
        raise ModelError(
            f"{name} has shape {tuple(twin.shape)} in the twin, {tuple(reference.shape)} in the"
            " reference.",
            "two models of one architecture.",
            "a twin made from this reference.",
        )
    pieces = max(1, _PIECE * len(reference) // reference.numel())
    changed, squared_error, squared_size = 0, 0.0, 0.0
    for before, after in zip(reference.split(pieces), twin.split(pieces), strict=True):
        before = before.detach().float()
        difference = after.detach().float() - before
        changed += int(torch.count_nonzero(difference))
        squared_error += _square(difference)
        squared_size += _square(before)
    return changed, math.sqrt(squared_error), math.sqrt(squared_size)


def _square(matrices: Tensor) -> float:
    """The sum of squares. Where a family stores a matrix the other way round its columns stand
    together in memory: along the rows it would take many times as long."""
    whole = torch.atleast_2d(matrices)
    along = whole if whole.stride(-1) == 1 else whole.mT
    return float(frobenius(along).square().sum())


def _mean_bits(rows: Sequence[Row]) -> float | None:
    parameters = sum(row.parameters for row in rows)
    return sum(row.bits * row.parameters for row in rows) / parameters if parameters else None
