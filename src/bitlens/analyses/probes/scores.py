"""How well scores tell two classes apart, under every replicate's weights: the area under the ROC
curve, a threshold for a rate of false positives, and the rates at it."""

from typing import Annotated

import numpy as np

RATE = 0.01
"""The share of the other class that a monitor may flag."""


def weighted_auc(
    score: Annotated[np.ndarray, "documents"],
    positive: Annotated[np.ndarray, "documents"],
    weights: Annotated[np.ndarray, "replicates documents"],
) -> Annotated[np.ndarray, "replicates"]:
    """The probability that a document of the positive class has the higher score, ties half: 1
    where the classes are apart, 0.5 by chance. NaN where a class has no weight."""
    high, low = score[positive], score[~positive]
    wins = (high[:, None] > low).astype(float) + 0.5 * (high[:, None] == low)
    of_high, of_low = weights[:, positive], weights[:, ~positive]
    pairs = of_high.sum(axis=1) * of_low.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(((of_high @ wins) * of_low).sum(axis=1) / pairs)


def threshold_at(
    score: Annotated[np.ndarray, "documents"],
    weights: Annotated[np.ndarray, "replicates documents"],
    rate: float = RATE,
) -> Annotated[np.ndarray, "replicates"]:
    """The lowest of these scores, all of the other class, above which no more than this share of
    them lies."""
    order = np.argsort(-score, kind="stable")
    above = np.cumsum(weights[:, order], axis=1)
    allowed = above <= rate * above[:, -1:] + 1e-9
    return np.asarray(score[order][np.minimum(allowed.sum(axis=1), len(score) - 1)])


def share_above(
    score: Annotated[np.ndarray, "documents"],
    threshold: Annotated[np.ndarray, "replicates"],
    weights: Annotated[np.ndarray, "replicates documents"],
) -> Annotated[np.ndarray, "replicates"]:
    """The share of the documents whose score is above each replicate's threshold."""
    flagged = score[None] > threshold[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((weights * flagged).sum(axis=1) / weights.sum(axis=1))
