"""The units of a model: the parts of it that have one format each."""

from collections.abc import Iterator
from typing import Literal

from bitlens.models.layout import Layout
from bitlens.models.matrices import LinearMap
from bitlens.results.sensitivity.records import Unit

Division = Literal["block", "kind", "matrix"]
"""Whole blocks; what a kernel fuses (query, key and value; gate and up; the experts of a block); or
single matrices."""
EXPERTS = "experts"
EMBEDDING, UNEMBEDDING = "embedding", "unembedding"


def units_of(layout: Layout, division: Division) -> list[Unit]:
    """Every unit of a model, in its order: the embedding, the blocks' parts, the unembedding. Tied
    ones are one unit."""
    inside = [unit for depth in range(layout.depth) for unit in _of_block(layout, depth, division)]
    shell = list(_of_shell(layout))
    before = [unit for unit in shell if unit.kind != UNEMBEDDING]
    return [*before, *inside, *(unit for unit in shell if unit not in before)]


def _of_block(layout: Layout, depth: int, division: Division) -> Iterator[Unit]:
    prefix = layout.block_name(depth) + "."
    parts: dict[str, list[LinearMap]] = {}
    for number, group in enumerate(layout.maps(depth, layout.weights(depth))):
        for one in group:
            inner = one.name.removeprefix(prefix)
            key = {"block": "block", "kind": _fused(inner, number), "matrix": inner}[division]
            parts.setdefault(key, []).append(one)
    for members in parts.values():
        kind = "block" if division == "block" else _named([m.name for m in members], prefix)
        yield Unit(
            name=f"block {depth}" if kind == "block" else f"block {depth} {kind}",
            kind=kind,
            block=depth,
            matrices=tuple(m.name for m in members),
            parameters=sum(m.weight.numel() for m in members),
        )


def _fused(inner: str, group: int) -> str:
    """What stands for the kernel that a matrix goes through: matrices of one module that read the
    same input go through one, and so do all experts."""
    parts = inner.split(".")
    if EXPERTS in parts:
        return ".".join(parts[: parts.index(EXPERTS) + 1])
    return f"{inner.rpartition('.')[0]} {group}"


def _named(names: list[str], prefix: str) -> str:
    """`self_attn.q_proj+k_proj+v_proj`; of experts, the module that holds them."""
    inner = [name.removeprefix(prefix) for name in names]
    parts = inner[0].split(".")
    if EXPERTS in parts and len(inner) > 1:
        return ".".join(parts[: parts.index(EXPERTS) + 1])
    module = inner[0].rpartition(".")[0]
    last = "+".join(name.rpartition(".")[2] for name in inner)
    return f"{module}.{last}" if module else last


def _of_shell(layout: Layout) -> Iterator[Unit]:
    """The embedding, that of positions by its own name where there is one, and the unembedding."""
    kinds = {p.module: p.kind for p in layout.parameters() if p.tied is None}
    known: set[str] = set()
    for m in layout.shell_maps():
        kind = UNEMBEDDING if kinds.get(m.name) == UNEMBEDDING else EMBEDDING
        kind = f"{kind} {m.name.rpartition('.')[2]}" if kind in known else kind
        known.add(kind)
        yield Unit(
            name=kind, kind=kind, block=None, matrices=(m.name,), parameters=m.weight.numel()
        )
