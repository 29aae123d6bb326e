"""Twins that are wanted of a model: those asked for, and the controls they are compared with."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from bitlens.compression import format_spec, parse_spec
from bitlens.compression.compression import Compression
from bitlens.models.layout import Layout


@dataclass(frozen=True, eq=False, kw_only=True)
class TwinRequest:
    """A twin that is wanted."""

    text: str
    """The compression as it was asked for."""
    compression: Compression
    control: bool = False
    like: str | None = None
    """Of noise: the text of the compression that it is matched to."""
    floor: bool = False
    """True: the reference again, computed in another dtype, on the seeded subset of the documents
    only. What is measured of it is the compute floor: no smaller difference means anything."""


def requested_twins(
    compressions: Sequence[str], controls: Collection[str], layout: Layout
) -> list[TwinRequest]:
    """The compressions asked for, then those of `controls` (`nothing`, `cast`, `noise`)."""
    asked = [parse_spec(text) for text in compressions]
    found = [_request(c, control=c.control) for c in asked]
    extra: list[Compression] = []
    if "nothing" in controls:
        extra.append(parse_spec("nothing"))
    if "cast" in controls:
        extra.append(parse_spec(f"cast:dtype={_half(layout)}"))
    if "noise" in controls:
        extra += [
            parse_spec(f"noise:like=[{format_spec(c)}]")
            for c in asked
            if not c.control and c.compute_dtype is None and c.cache is None
        ]
    known = {request.text for request in found}
    for compression in extra:
        if format_spec(compression) not in known:
            known.add(format_spec(compression))
            found.append(_request(compression, control=True))
    return found


def _half(layout: Layout) -> str:
    """The 16 bits that the model would be deployed in: those it is stored in, or bfloat16; the
    other ones where it is computed in them already."""
    if layout.compute.itemsize == 2:
        return "float16" if layout.compute == torch.bfloat16 else "bfloat16"
    return "float16" if layout.dtype == torch.float16 else "bfloat16"


def _request(compression: Compression, *, control: bool) -> TwinRequest:
    base = compression.base
    like = None if base is compression else format_spec(base)
    return TwinRequest(
        text=format_spec(compression), compression=compression, control=control, like=like
    )
