"""How often do latents fire, and what became of the rare and the frequent ones?"""

import numpy as np
from numpy.typing import ArrayLike

CATEGORIES = ("dead", "rare", "common", "frequent")
"""Never; at less than 1 % of positions; at 1 % or more; at half of them or more."""
RARE = 0.01
FREQUENT = 0.5


def categories(rates: ArrayLike) -> np.ndarray:
    """Into which category falls each latent? Firing rates `[..., latents]` to as many integers,
    places in `CATEGORIES`. Raises ValueError for what is no rate."""
    shares = np.asarray(rates, dtype=np.float64)
    if not np.all((shares >= 0) & (shares <= 1)):
        raise ValueError(f"rates from {shares.min():g} to {shares.max():g}, not from 0 to 1")
    return (shares > 0).astype(np.int64) + (shares >= RARE) + (shares >= FREQUENT)


def flow(before: ArrayLike, after: ArrayLike) -> np.ndarray:
    """How many latents went from which category to which? Two vectors of firing rates of the same
    latents, `[latents]` each, to counts `[4, 4]`: a row for each category before."""
    rows, columns = categories(before), categories(after)
    if rows.shape != columns.shape or rows.ndim != 1:
        raise ValueError(f"rates of shape {rows.shape} before but {columns.shape} after")
    size = len(CATEGORIES)
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)
