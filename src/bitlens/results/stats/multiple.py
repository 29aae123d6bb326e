"""False discovery rates: which of many tests are still found if only few findings may be false."""

from collections.abc import Sequence

import numpy as np


def false_discovery(p: Sequence[float | None]) -> list[float | None]:
    """What share of findings up to this one is expected to be false? Benjamini and Hochberg 1995.

    The adjusted p (often called q) of each test; a test that was not made (None) stays None and
    does not count.
    """
    from scipy.stats import false_discovery_control  # half a second to load: only where it is used

    made = [place for place, value in enumerate(p) if value is not None]
    q: list[float | None] = [None] * len(p)
    if made:
        adjusted = false_discovery_control(np.array([p[place] for place in made], dtype=float))
        for place, value in zip(made, adjusted.tolist(), strict=True):
            q[place] = value
    return q
