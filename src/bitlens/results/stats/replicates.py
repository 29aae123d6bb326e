"""Weights over shards of documents: the sums that make a value, and those of its replicates.

An analysis adds what it sees into one accumulator a shard. A row of weights turns those into one
number: all ones give the value, every other row a replicate that says how the value would have
been with other documents. Documents are the unit, never tokens: tokens of a document resemble each
other, and an interval that forgets it is several times too narrow.
"""

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from bitlens.seeds import generator

SHARDS = 20
"""Twenty shards give 19 degrees of freedom; more hardly change an interval and cost memory."""
DRAWN = 100
"""What a bootstrap draws from: shards, for sums of every document would grow with the text. Its
percentiles know no Student's t, which with a hundred shards would make them 1 % wider."""


def assign(
    sizes: Sequence[int],
    keys: Sequence[Any],
    shards: int = SHARDS,
    classes: Sequence[int] | None = None,
) -> np.ndarray:
    """Which shard does each document belong to? Whole documents, shards of about equal size.

    `sizes` are token counts, `keys` hashes of the documents' contents; returns `[documents]`
    integers. The largest document goes first, each to the shard that is lightest so far; equal
    sizes are taken in the order of their keys, so the order in which documents arrive does not
    matter. With fewer documents than shards every document is a shard of its own. Documents of
    each of the `classes` are spread over all shards: leaving one out leaves out a part of each.
    ValueError where sizes and keys are not as many, or for less than one shard.
    """
    if len(sizes) != len(keys):
        raise ValueError(f"{len(sizes)} sizes but {len(keys)} keys")
    if shards < 1:
        raise ValueError(f"{shards} shards")
    used = min(shards, len(sizes))
    every = [0] * used
    """Tokens of all classes in each shard."""
    held = [0] * used
    result = np.zeros(len(sizes), dtype=np.int64)
    by_class: dict[int, list[int]] = {}
    for document in range(len(sizes)):
        by_class.setdefault(0 if classes is None else classes[document], []).append(document)
    for _, members in sorted(by_class.items()):
        lightest = [(0, held[shard], every[shard], shard) for shard in range(used)]
        heapq.heapify(lightest)
        for document in sorted(members, key=lambda d: (-sizes[d], keys[d])):
            tokens, documents, total, shard = heapq.heappop(lightest)
            size = int(sizes[document])
            result[document] = shard
            held[shard], every[shard] = documents + 1, total + size
            heapq.heappush(lightest, (tokens + size, documents + 1, total + size, shard))
    return result


def leave_one_out(occupied: np.ndarray) -> np.ndarray:
    """Weights `[1 + replicates, shards]` that leave out one shard after another.

    `occupied` `[shards]` says which shards hold anything: an empty one is no replicate. The first
    row is all ones. A single occupied shard has no replicate: without it nothing is left.
    """
    occupied = np.asarray(occupied, dtype=bool)
    left_out = np.flatnonzero(occupied) if occupied.sum() > 1 else np.empty(0, dtype=np.int64)
    weights = np.ones((1 + len(left_out), len(occupied)))
    weights[1 + np.arange(len(left_out)), left_out] = 0.0
    return weights


def bootstrap(occupied: np.ndarray, draws: int = 2000, seed: int = 0) -> np.ndarray:
    """Weights `[1 + draws, shards]` of a bootstrap: how often each shard is drawn.

    As many shards are drawn, with replacement, as there are occupied ones. It is a bootstrap over
    documents where every document is its own shard, as it is up to `DRAWN` of them. The first row
    is all ones. A single occupied shard has no replicate.
    """
    occupied = np.asarray(occupied, dtype=bool)
    n = int(occupied.sum())
    drawn = np.zeros((draws if n > 1 else 0, len(occupied)))
    drawn[:, occupied] = generator(seed, "bootstrap").multinomial(
        n, np.full(n, 1 / max(n, 1)), size=len(drawn)
    )
    return np.concatenate([np.ones((1, len(occupied))), drawn])


def bounds(
    values: np.ndarray, weights: np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Between what bounds do many numbers lie, `[1 + replicates, n]` to `[n]` each? NaN where
    there are fewer than two replicates.

    Replicates scatter as far as their weights do: divided by the weights' own variance, the
    variance of leave-one-out replicates is the jackknife's and that of draws the bootstrap's.
    Student's t with a degree less than there are shards to leave out or draw.
    """
    from scipy.special import stdtrit  # as in intervals.py

    units = weights[1:, weights.std(axis=0) > 0]
    if len(units) < 2:
        return (np.full(values.shape[1], np.nan),) * 2
    shares = units / units.mean(axis=1, keepdims=True)
    error = np.sqrt(values[1:].var(axis=0) / shares.var(axis=0).mean())
    half = stdtrit(units.shape[1] - 1, (1 + level) / 2) * error
    return values[0] - half, values[0] + half
