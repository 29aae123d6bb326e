"""Directions of a dictionary that nearly coincide: each one's nearest neighbours by cosine."""

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import normalize

NEAR = 0.7
"""Cosine above which two directions are near-duplicates: what is learnt of one is known of the
other."""
BLOCK = 512
"""Directions that are compared with all at a time."""


@torch.no_grad()
def neighbours(directions: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """How near is each direction's nearest other, and which belong together?

    `[n, width]` to cosines `[n]` and groups `[n]`, numbered from 0: directions that a chain of
    cosines above `NEAR` joins are one group. One direction alone has a nearest cosine of -1.
    """
    unit = normalize(directions.float(), dim=1)
    nearest = unit.new_full((len(unit),), -1.0)
    everyone = np.arange(len(unit))
    group = everyone
    for first in range(0, len(unit), BLOCK):
        # Those before have met these already: the cosine of two is the same either way.
        cosine = unit[first : first + BLOCK] @ unit[first:].T
        cosine.diagonal().fill_(-1)
        after, mine = nearest[first:], nearest[first : first + BLOCK]
        torch.maximum(after, cosine.amax(dim=0), out=after)
        torch.maximum(mine, cosine.amax(dim=1), out=mine)
        near = torch.nonzero(cosine > NEAR).cpu().numpy() + first
        # What was joined so far hangs together by the first of each group.
        known = np.unique(group, return_index=True)[1][group]
        begin = np.concatenate([near[:, 0], everyone])
        end = np.concatenate([near[:, 1], known])
        joined = coo_array((np.ones(len(begin), dtype=bool), (begin, end)), shape=(len(unit),) * 2)
        group = connected_components(joined, directed=False)[1]
    return nearest.clamp(-1, 1).cpu().numpy().astype(np.float64), group.astype(np.int64)
