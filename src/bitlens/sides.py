"""Which twins does a study want of a model: what was asked for, and what it is compared with."""

from dataclasses import dataclass

import torch

from bitlens.compress import format, parse
from bitlens.compress.compression import Compression
from bitlens.models.layout import Layout
from bitlens.study import Study


@dataclass(frozen=True, eq=False)
class Side:
    """A twin that is wanted."""

    text: str
    compression: Compression
    control: bool
    like: str | None


def sides(study: Study, layout: Layout) -> list[Side]:
    """The compressions asked for, then their controls."""
    asked = [parse(text) for text in study.compressions]
    found = [Side(format(c), c, c.control, _like(c)) for c in asked]
    extra: list[Compression] = []
    if "nothing" in study.controls:
        extra.append(parse("nothing"))
    if "cast" in study.controls:
        half = "float16" if layout.dtype == torch.bfloat16 else "bfloat16"
        extra.append(parse(f"cast:dtype={half}"))
    if "noise" in study.controls:
        extra += [
            parse(f"noise:like=[{format(c)}]")
            for c in asked
            if not c.control and c.compute_dtype is None
        ]
    known = {side.text for side in found}
    for compression in extra:
        if format(compression) not in known:
            known.add(format(compression))
            found.append(Side(format(compression), compression, True, _like(compression)))
    return found


def _like(compression: Compression) -> str | None:
    like = getattr(compression, "like", None)
    return format(like) if like is not None else None
