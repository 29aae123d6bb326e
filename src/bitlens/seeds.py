"""Every random stream, derived by name from one root seed, so that adding one moves no other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Seeds are derived where no numpy is loaded yet: a command line reads no array.
    import numpy as np


def derive(seed: int, *names: object) -> int:
    """Which 63-bit seed belongs to this purpose? Depends on the root seed and the names alone."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """A numpy generator for this purpose."""
    import numpy as np

    return np.random.default_rng(derive(seed, *names))


def position_keys(seed: int, document: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Which positions come first when a sample is wanted? A 63-bit hash of (document, position).

    Both inputs are integer arrays of one shape; so is the result. The mixing function is
    SplitMix64 (Steele, Lea and Flood 2014), so the order is the same on every machine and does
    not depend on batching.
    """
    import numpy as np

    with np.errstate(over="ignore"):
        x = document.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x ^= (position.astype(np.uint64) + np.uint64(derive(seed, "positions"))) * np.uint64(
            0xBF58476D1CE4E5B9
        )
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(1)).astype(np.int64)
