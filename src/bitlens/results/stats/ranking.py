"""The area under the ROC curve, for many draws: does a score put one class above the other?"""

import numpy as np


def ordered_pairs(
    score: np.ndarray, positive: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The share of pairs of a positive and a negative with the positive's score above. Ties count
    half.

    `score`, `positive` `[n]`, `weights` `[draws, n]` to (in order, all) `[draws]` each. Their ratio
    is the area under the ROC curve (Hanley and McNeil 1982); numerators and denominators of folds
    add up to that of pairs within a fold, the only ones whose scores one model gave.
    """
    order = np.argsort(score, kind="stable")
    mine = positive[order]
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    by_score = weights[:, order]
    above = np.add.reduceat(by_score * mine, starts, axis=1)
    below = np.add.reduceat(by_score * ~mine, starts, axis=1)
    under = np.cumsum(below, axis=1) - below / 2
    return (above * under).sum(axis=1), above.sum(axis=1) * below.sum(axis=1)
