"""Which twins does a study want of a model: what was asked for, and what it is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from bitlens.compress import format, parse
from bitlens.compress.compression import Compression
from bitlens.compress.rule import targets
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.study import Study
from bitlens.twin import Twin


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


def twins(
    layout: Layout, wanted: Sequence[Side], seed: int, keep_going: bool
) -> tuple[dict[str, Twin], dict[str, str]]:
    """Twins by text, after a trial of every shape so that nothing fails late; with `keep_going`
    those that cannot be made, and why."""
    made: dict[str, Twin] = {}
    failed: dict[str, str] = {}
    default = [name for name, _ in layout.matrices()]
    names = [example.name for example in layout.examples()]
    for side in wanted:
        try:
            chosen = targets(names, default, side.compression)
            _try_shapes(layout, set(chosen), side.compression)
            made[side.text] = Twin(layout, side.compression, chosen, seed)
        except BitlensError as error:
            if not keep_going:
                raise
            failed[side.text] = str(error)
    return made, failed


def _like(compression: Compression) -> str | None:
    like = getattr(compression, "like", None)
    return format(like) if like is not None else None


def _try_shapes(layout: Layout, chosen: set[str], compression: Compression) -> None:
    """Compress one matrix of every kind: what does not fit fails before the sweep."""
    tried: set[tuple[object, ...]] = set()
    for example in layout.examples():
        kind = (tuple(example.weight.shape), example.head_size, example.fused)
        if example.name in chosen and kind not in tried:
            tried.add(kind)
            rows, columns = example.weight.shape[-2:]
            weight = torch.linspace(-0.1, 0.1, rows * columns).reshape(rows, columns)
            trial = replace(example, weight=weight)
            compression.compress([trial], 0, compression.survey(partial(list, [trial])))
