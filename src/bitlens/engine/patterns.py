"""Attention patterns: sums over the keys that a query sees, which are none of those after it."""

from collections.abc import Callable

import torch
from torch import Tensor

STRIP = 64
"""Queries at a time: of all keys, each strip reads those up to its last query. Shorter ones would
call too often for what they leave out."""


def over_keys(reduce: Callable[..., Tensor], *patterns: Tensor) -> Tensor:
    """What `reduce` makes of patterns `[rows, heads, queries, keys]`, over the last dimension:
    `[rows, heads, queries]`. Nothing may come of a key that gets nothing.

    The last query sees all keys, the one before it all but the last.
    """
    queries, keys = patterns[0].shape[-2:]
    strips = []
    for begin in range(0, queries, STRIP):
        end = min(begin + STRIP, queries)
        seen = keys - queries + end
        strips.append(reduce(*(p[..., begin:end, :seen] for p in patterns)))
    return strips[0] if len(strips) == 1 else torch.cat(strips, dim=-1)


def entropy(pattern: Tensor) -> Tensor:
    """Of distributions over the last dimension, in nats. A logarithm of what is never nought is
    several times as fast as one that looks."""
    tiny = torch.finfo(pattern.dtype).tiny
    return pattern.clamp_min(tiny).log_().mul_(pattern).sum(dim=-1).neg_()
