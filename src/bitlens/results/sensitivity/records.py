"""The records of a sensitivity run: units, their sizes, their effects, and what others score."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Way = Literal["only", "all but", "whole"]
"""The unit alone is compressed; everything but it is; or, without a unit, everything is."""
SQNR = "sqnr"
"""The proxy that is in decibels."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A part of a model that has one format: a block, what a kernel fuses, or one matrix."""

    name: str
    """`block 3`, `block 3 mlp.down_proj`, `embedding`."""
    kind: str
    """The name without its block: `block`, `mlp.down_proj`, `embedding`."""
    block: int | None
    """Counted from 0; None of what stands before and after the blocks."""
    matrices: tuple[str, ...]
    """Full module paths."""
    parameters: int


@dataclass(frozen=True, kw_only=True)
class UnitSize:
    """What a unit takes under one compression."""

    compression: str
    unit: str
    bits: float
    """Bits per weight, scales and zeros included."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What compressing a unit does to one measure, beside the reference.

    `only`: the measure where the unit alone is compressed. `all but`: how much of the whole
    compression's effect goes away where the unit alone is not. `whole`: everything is compressed.
    Intact 0, in all three.
    """

    compression: str
    unit: str
    """Empty of the whole."""
    way: Way
    measure: str
    item: str
    """Which SAE; empty where the measure is one number."""
    value: float | None
    low: float | None
    high: float | None
    documents: int
    reason: str | None
    """Why there is no value, or no interval."""
    replicates: tuple[float, ...]
    """One a shard of documents left out, of `value`; they carry whatever is made of several."""


@dataclass(frozen=True, kw_only=True)
class ProxyScore:
    """How much a unit matters by a score that runs no compressed model; the larger, the more."""

    proxy: str
    compression: str
    unit: str
    value: float


def _schema(absent: str = "", **columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, of, name in absent.split()) for name, of in columns.items()])


_TEXT, _NUMBER, _COUNT = pa.string(), pa.float64(), pa.int64()
_NUMBERS = pa.list_(pa.field("item", _NUMBER, nullable=False))
_TEXTS = pa.list_(pa.field("item", _TEXT, nullable=False))
TABLES: dict[str, tuple[type, pa.Schema]] = {
    "units": (
        Unit,
        _schema("block", name=_TEXT, kind=_TEXT, block=_COUNT, matrices=_TEXTS, parameters=_COUNT),
    ),
    "sizes": (UnitSize, _schema(compression=_TEXT, unit=_TEXT, bits=_NUMBER)),
    "effects": (
        Effect,
        _schema(
            "value low high reason",
            **dict.fromkeys(("compression", "unit", "way", "measure", "item"), _TEXT),
            **dict.fromkeys(("value", "low", "high"), _NUMBER),
            documents=_COUNT,
            reason=_TEXT,
            replicates=_NUMBERS,
        ),
    ),
    "proxies": (ProxyScore, _schema(proxy=_TEXT, compression=_TEXT, unit=_TEXT, value=_NUMBER)),
}
"""By name, the record of a row and the columns."""
