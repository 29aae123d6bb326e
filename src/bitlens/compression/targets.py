"""The matrices of a model that a compression takes, and a trial whether it fits them."""

from dataclasses import replace
from functools import partial

import torch
from torch import nn

from bitlens.compression import format_spec
from bitlens.compression.compression import Compression, MatrixGroup
from bitlens.compression.methods.checkpoint import Checkpoint
from bitlens.compression.methods.prune import Prune
from bitlens.compression.numerics.cache_rounding import CacheRounding
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.compression.patterns import targets
from bitlens.errors import InputError, ModelError
from bitlens.models.attending import can_keep, key_heads
from bitlens.models.layout import Layout
from bitlens.models.matrices import LinearMap

TRIED = 0.5
"""The sparsity at which pruning is tried that has yet to find its own."""
TRIED_ROWS = 16
"""Of a matrix on which a calibrated compression is tried."""


def chosen(layout: Layout, compression: Compression) -> list[str]:
    """The matrices of the model that it takes, in the model's order; none where it rounds keys and
    values alone. BitlensError where a pattern matches nothing, and for a calibrated embedding."""
    if compression.base.cache is not None and not compression.base.parts:
        return []
    default = [name for name, _ in layout.matrices()]
    if isinstance(compression.base, Checkpoint):
        return default
    found = targets([example.name for example in layout.examples()], default, compression)
    for name in set(found) - set(default):
        looked_up = isinstance(layout.shell.module.get_submodule(name), nn.Embedding)
        if looked_up and compression.part_for(name).statistics:
            raise InputError(
                f"{format_spec(compression)} is to compress {name}, which is looked up in, not "
                "multiplied with: there is nothing to calibrate it on.",
                "matrices that are multiplied with activations.",
                f"mixed:{name}=[rtn:bits=8],*=[...], or without this pattern.",
            )
    return found


def try_compression(layout: Layout, compression: Compression) -> None:
    """Does it fit the model's matrices? Of noise what it is like is tried, and what is to be
    matched beside what is matched to it; a checkpoint has matrices of its own."""
    base = compression.base
    tried = [base]
    if isinstance(base, Prune) and base.match is not None:
        tried = [replace(base, match=None, sparsity=TRIED), base.match]
    for one in tried:
        if one.cache is not None:
            try_cache(layout, one.cache)
        if not isinstance(one, Checkpoint):
            try_shapes(layout, set(chosen(layout, one)), one)


def try_cache(layout: Layout, cache: CacheRounding) -> None:
    """Can keys and values of this model be rounded so? ModelError where attention multiplies them
    itself, and where blocks do not divide them."""
    for block, names in zip(layout.blocks, layout.block_layouts, strict=True):
        attention = block.get_submodule(names.pattern)
        if not can_keep(attention) or getattr(layout.config, "kv_lora_rank", None):
            raise ModelError(
                f"{type(attention).__name__} keeps keys and values in a form of its own, or"
                " multiplies them itself.",
                "attention by one of transformers' attention functions, where they can be met.",
                "another model, or a compression of its weights.",
            )
    heads, size = key_heads(layout.config)
    broken = cache.broken(heads, size)
    if broken:
        raise ModelError(
            f"{broken} and this model has {heads} key heads of {size} channels.",
            "groups that divide the channels of a head, blocks that divide those of a token.",
            f"kv:group={size}",
        )


def try_shapes(layout: Layout, names: set[str], compression: Compression) -> None:
    """Compress one matrix of every kind: what does not fit fails before anything long begins.
    InputError names the matrix."""
    tried: set[tuple[object, ...]] = set()
    for example in layout.examples():
        if example.name not in names:
            continue
        part = compression.part_for(example.name)
        kind = (format_spec(part), tuple(example.weight.shape), example.head_size, example.fused)
        if kind not in tried:
            tried.add(kind)
            rows, columns = example.weight.shape[-2:]
            if part.statistics:
                # It looks at columns, and each row costs as much as the last.
                rows = min(rows, TRIED_ROWS)
            numbers = torch.linspace(-0.1, 0.1, rows * columns, device=layout.device)
            weight = numbers.reshape(rows, columns)
            trial = replace(example, weight=weight)
            prepared = compression.prepare(partial(list, [trial]))
            inputs = _inputs(trial, compression)
            (made,) = compression.compress(MatrixGroup([trial], 0, prepared, inputs))
            if made.activations is not None and not example.name.startswith(layout.blocks_path):
                raise InputError(
                    f"{format_spec(part)} rounds inputs, and is to compress {example.name}, which "
                    "is no matrix of a block.",
                    "matrices of blocks: only their inputs are rounded.",
                    f"mixed:{example.name}=[rtn:bits=8],*=[{format_spec(part)}], or without it.",
                )
            if made.activations is not None and example.weight.ndim == 3:
                # What experts are multiplied with is only seen where they run one by one.
                layout.model.set_experts_implementation("eager")


def _inputs(matrix: LinearMap, compression: Compression) -> InputStatistics | None:
    """Inputs without any structure."""
    if not compression.statistics:
        return None
    width, device = matrix.weight.shape[-1], matrix.weight.device
    ones = torch.ones(width, device=device)
    return InputStatistics(
        count=torch.tensor(width, device=device),
        second_moment=torch.diag(ones),
        mean_square=ones,
        max_abs=ones,
        mean_abs=ones,
    )
