"""Categories of latents by how often they fire: what became of the rare and the frequent ones?"""

import numpy as np
from numpy.typing import ArrayLike

from bitlens.results.stats.firings import repeatedly

CATEGORIES = ("dead", "rare", "common", "frequent")
"""Never; at less than 1 % of positions, or fewer than ten times; at 1 % or more; at half of them
or more."""
RARE = 0.01
FREQUENT = 0.5


def categories(fired: ArrayLike, positions: ArrayLike) -> np.ndarray:
    """Into which category falls each latent? Firings `[..., latents]` on so many positions to as
    many integers, places in `CATEGORIES`. Raises ValueError for more firings than positions."""
    counts = np.asarray(fired, dtype=np.float64)
    of = np.maximum(np.asarray(positions, dtype=np.float64), np.finfo(np.float64).tiny)
    shares = counts / of
    if not np.all((shares >= 0) & (shares <= 1)):
        raise ValueError(f"rates from {shares.min():g} to {shares.max():g}, not from 0 to 1")
    # A share of few positions is less than a firing: it says nothing of how often a latent fires.
    often = repeatedly(counts)
    found = (shares > 0).astype(np.int64)
    return found + (often & (shares >= RARE)) + (often & (shares >= FREQUENT))


def flow(before: ArrayLike, after: ArrayLike, positions: int) -> np.ndarray:
    """How many latents went from which category to which? Firings of the same latents, `[latents]`
    each, on so many positions, to counts `[4, 4]`: a row for each category before. ValueError where
    the two are not of the same latents."""
    rows, columns = categories(before, positions), categories(after, positions)
    if rows.shape != columns.shape or rows.ndim != 1:
        raise ValueError(f"rates of shape {rows.shape} before but {columns.shape} after")
    size = len(CATEGORIES)
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)
