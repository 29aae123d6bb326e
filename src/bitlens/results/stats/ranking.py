"""The area under the ROC curve, for many draws: does a score put one class above the other?"""

import numpy as np


def ordered_pairs(
    score: np.ndarray, positive: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The share of pairs of a positive and a negative with the positive's score above. Ties count
    half.

    `score`, `positive` `[n]`, `weights` `[n, draws]` to (in order, all) `[draws]` each. Their ratio
    is the area under the ROC curve (Hanley and McNeil 1982); numerators and denominators of folds
    add up to that of pairs within a fold, the only ones whose scores one model gave.
    """
    ascending = np.argsort(score[~positive], kind="stable")
    others = score[~positive][ascending]
    # Of the negatives, in the order of their scores, the weight of the first so many.
    first = np.zeros((len(others) + 1, weights.shape[1]))
    np.cumsum(weights[~positive][ascending], axis=0, out=first[1:])
    below, not_above = (np.searchsorted(others, score[positive], side=s) for s in ("left", "right"))
    mine, under = weights[positive], first[below]
    if not np.array_equal(below, not_above):
        under = (under + first[not_above]) / 2
    return np.einsum("nd,nd->d", mine, under), mine.sum(axis=0) * first[-1]
