"""Coverage of a compressed twin: noted as its weights are made, told in the model's order."""

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from bitlens.compression import format_spec
from bitlens.compression.compression import CompressedMatrix, Compression
from bitlens.compression.coverage import Row, Storage, measure, tied
from bitlens.compression.patterns import left_alone
from bitlens.models.layout import Layout, Parameter
from bitlens.models.matrices import LinearMap


class TwinCoverage:
    """What became of each module of the reference, as far as it was met."""

    def __init__(self, layout: Layout, compression: Compression) -> None:
        self._layout, self._compression = layout, compression
        self._compressed: dict[str, Row] = {}
        """By matrix."""
        self._cast: dict[str, Row] = {}
        """By parameter."""

    def covers(self, matrices: Collection[str]) -> bool:
        """Whether all matrices of these names were met."""
        return set(matrices) <= self._compressed.keys()

    def note_compressed(self, matrix: LinearMap, result: CompressedMatrix) -> None:
        """Measure what became of a matrix; `result` has its weight in the twin's dtype."""
        if matrix.name not in self._compressed:
            rounding = "" if result.activations is None else result.activations.words
            storage = Storage(
                format=format_spec(self._compression),
                bits=result.bits,
                group=result.group,
                note="; ".join(filter(None, (result.note, rounding))),
            )
            self._compressed[matrix.name] = measure(
                matrix.name, "block", matrix.weight, result.weight, storage=storage
            )

    def note_cast(self, name: str, before: Tensor, after: Tensor) -> None:
        """Measure what a dtype of the twin's own did to a parameter, both of one shape."""
        if name not in self._cast:
            storage = Storage(
                format=format_spec(self._compression), bits=8.0 * after.dtype.itemsize
            )
            self._cast[name] = measure(name, "", before, after, storage=storage)

    def rows(self) -> list[Row]:
        """One for every parameter of the model."""
        rows: dict[str, Row] = {}
        for p in self._layout.parameters():
            if p.module in self._compressed and p.kind != "bias":
                rows[p.name] = replace(self._compressed[p.module], kind=p.kind)
            elif p.tied is not None:
                other = rows[p.tied]
                storage = Storage(format=other.format, bits=other.bits)
                rows[p.name] = tied(p.module, p.kind, to=p.tied, storage=storage)
            elif p.name in self._cast:
                rows[p.name] = replace(self._cast[p.name], module=p.module, kind=p.kind)
            else:
                rows[p.name] = self._left_alone(p)
        return list(rows.values())

    def _left_alone(self, p: Parameter) -> Row:
        storage = Storage(
            format=str(p.dtype).removeprefix("torch."),
            bits=8.0 * p.dtype.itemsize,
            note=left_alone(p.module, p.kind, self._compression),
        )
        shape = torch.empty(p.shape, device="meta")
        return measure(p.module, p.kind, shape, None, storage=storage)
