"""The rule by which a latent fires often enough to be spoken of."""

import numpy as np
from numpy.typing import ArrayLike

ACTIVE = 0.001
"""Share of positions on which a latent fires to count as a feature (Duan 2026, arXiv
2606.03002)."""
FIRINGS = 10
"""Times that it fires at least, as many as are shown of it. Of k equal firings one that is lost
leaves a correlation of sqrt(1 - 1 / k): with fewer than six a single one decides whether a feature
survived (r > 0.9), and a share of few positions is less than one firing."""


def repeatedly(fired: ArrayLike) -> np.ndarray:
    """Which latents fire ten times or more?"""
    # Sums over weighted shards may miss a whole number by rounding.
    return np.asarray(np.asarray(fired, dtype=np.float64) > FIRINGS - 0.5)


def active(fired: ArrayLike, positions: ArrayLike) -> np.ndarray:
    """Which latents are features? Firings `[..., latents]` on so many positions."""
    counts = np.asarray(fired, dtype=np.float64)
    often = counts > ACTIVE * np.asarray(positions, dtype=np.float64)
    return np.asarray(often & repeatedly(counts))
