"""Where a difference lies: how few positions hold most of it, and which tokens and documents."""

from collections.abc import Iterable

import numpy as np

SHARES = (0.001, 0.01, 0.1)
"""Of the positions, those of the largest differences."""
CURVE = np.logspace(-4, 0, 33)
"""Where the curve of the page has points."""


def concentration(
    square: np.ndarray, shard: np.ndarray, weights: np.ndarray, shares: Iterable[float] = SHARES
) -> np.ndarray:
    """What share of all squared length is at these shares of the positions, the largest first?

    `square` and `shard` `[n]`, `weights` `[replicates + 1, shards]` to `[replicates + 1, shares]`;
    between two positions by linear interpolation. Of equal differences it is the share itself.
    """
    order = np.argsort(-square, kind="stable")
    weight = weights[:, shard[order]]
    positions = np.cumsum(weight, axis=1)
    held = np.cumsum(weight * square[order], axis=1)
    wanted = np.array(list(shares))
    return np.stack(
        [
            np.interp(wanted * p[-1], np.append(0, p), np.append(0, h)) / h[-1]
            for p, h in zip(positions, held, strict=True)
        ]
    )


def largest_shares(
    square: np.ndarray, kind: np.ndarray, most: int
) -> list[tuple[int, float, float, int]]:
    """Of numbered kinds (tokens, documents) `[n]` those with the largest shares of the squared
    length: number, share, share of the positions, how many positions."""
    held, count = np.bincount(kind, square), np.bincount(kind)
    order = np.argsort(-held, kind="stable")[:most]
    order = order[count[order] > 0]
    share, positions = held[order] / square.sum(), count[order] / len(kind)
    columns = (order, share, positions, count[order])
    return list(zip(*(column.tolist() for column in columns), strict=True))
