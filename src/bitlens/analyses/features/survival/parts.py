"""Outcomes in parts: a few replicates at a time, as one number a latent and replicate is big."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from bitlens.analyses.features.survival.sums import Sums
from bitlens.results.records import MetricResult

PART_BYTES = 8 << 20
"""Of one number a latent and replicate, at a time; there are some twenty of them."""


def replicated(sums: Sums, find: Callable[[Sums], Sequence[MetricResult]]) -> list[MetricResult]:
    """Outcomes under every replicate, found in a few replicates at a time.

    `find` gives the same outcomes, in the same order, for any of them.
    """
    return [_joined(parts) for parts in zip(*map(find, _parts(sums)), strict=True)]


def _parts(sums: Sums) -> Iterator[Sums]:
    """The sums under a few replicates at a time; each part is led by the value itself."""
    weights = sums.state.weights
    rows = at_once(sums.latents)
    for first in range(1, max(len(weights), 2), rows):
        yield sums.under(np.concatenate([weights[:1], weights[first : first + rows]]))


def at_once(numbers: int) -> int:
    """How many rows of so many numbers fit a part?"""
    return max(1, PART_BYTES // (8 * max(1, numbers)))


def _joined(parts: Sequence[MetricResult]) -> MetricResult:
    first = parts[0]
    values = []
    for part in parts:
        if part.values is None:
            return replace(first, values=None, reason=part.reason)
        values.append(part.values[1:])
    assert first.values is not None
    return replace(first, values=np.concatenate([first.values[:1], *values]))
