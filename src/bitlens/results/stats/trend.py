"""Trend: does a number go with the size of the model, from one model to the next?"""

from collections.abc import Sequence
from itertools import permutations
from math import factorial

import numpy as np
from scipy.stats import rankdata

from bitlens.seeds import generator

FEWEST = 5
"""Models below which no order could come out rarer than one time in twenty: of four in a row, two
of 24 orders are as extreme."""
EXACT = 8
"""Up to so many models all orders are tried."""
DRAWS = 10_000


def trend(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float] | None:
    """Spearman's rank correlation of sizes and values, and its p by permutation.

    p is the share of orders of the values whose correlation is as far from 0: of all orders up to
    `EXACT` models, of drawn ones beyond, (1 + as far) / (1 + drawn). None of fewer than `FEWEST`
    models, and where all sizes or all values are alike. (Spearman 1904; Phipson and Smyth 2010.)
    """
    if len(sizes) < FEWEST or len(set(sizes)) < 2 or len(set(values)) < 2:
        return None
    x, y = (rankdata(of) - (len(sizes) + 1) / 2 for of in (sizes, values))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    found = float(x @ y) / norm
    n = len(x)
    if n <= EXACT:
        orders = np.array(list(permutations(y)))
    else:
        draw = generator(0, "trend", n)
        orders = np.stack([draw.permutation(y) for _ in range(DRAWS)])
    as_far = int((np.abs(orders @ x) / norm >= abs(found) - 1e-12).sum())
    p = as_far / factorial(n) if n <= EXACT else (1 + as_far) / (1 + DRAWS)
    return found, p
