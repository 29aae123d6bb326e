"""Probes as they are made: directions that tell two classes apart, from labelled activations.

Logistic regression with an L2 penalty, its strength chosen on a part of the training documents, and
the difference of the classes' means. Both are found in the space that the training documents span,
where an L2 penalty has the same solution as in the whole: the width of a model costs nothing.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Self

import numpy as np

from bitlens.seeds import generator

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse penalties, for activations scaled to a mean variance of 1 a dimension."""
CHOOSE_ONE_IN = 4
"""The penalty is chosen on one in so many groups of the training documents."""
SHUFFLES = 8
"""Probes of shuffled labels that chance is the mean of."""


@dataclass(frozen=True)
class Lesson:
    """Training documents of one model at one site; equal where their digest is."""

    digest: bytes
    rows: np.ndarray = field(compare=False, repr=False)
    """`[n, width]`."""
    positive: np.ndarray = field(compare=False, repr=False)
    """`[n]` booleans."""
    chosen_on: np.ndarray = field(compare=False, repr=False)
    """`[n]`: those that the penalty is chosen on."""

    @classmethod
    def of(cls, rows: np.ndarray, positive: np.ndarray, group: np.ndarray) -> Self:
        """`[n, width]`, `[n]`, and which group each is of."""
        rank = np.unique(group, return_inverse=True)[1]
        digest = sha256(rows.tobytes() + positive.tobytes() + rank.tobytes()).digest()
        return cls(digest, rows, positive, _held_back(positive, rank))


@dataclass(frozen=True, eq=False)
class Probe:
    """A direction and where on it the classes part."""

    direction: np.ndarray
    """`[width]`."""
    offset: float

    def score(
        self, rows: Annotated[np.ndarray, "documents width"]
    ) -> Annotated[np.ndarray, "documents"]:
        """Higher where the document looks more like the positive class."""
        return np.asarray(rows @ self.direction + self.offset)


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitted:
    """What was learned from one lesson by one method."""

    probe: Probe
    strength: float
    """The inverse penalty that was chosen."""
    choosing_auc: float
    """On the documents that the penalty was chosen on, which the probe that is scored there did
    not see."""


@lru_cache(maxsize=32)
def fitted(lesson: Lesson, method: str) -> Fitted:
    """What is learned by a method of PROBED_BY; of a reference once for all of its twins."""
    space = _space(lesson)
    learning = ~lesson.chosen_on
    fit = _logistic if method == "logistic" else _mean_difference
    strengths = STRENGTHS if method == "logistic" else (1.0,)
    held = space.rows[lesson.chosen_on]
    areas = []
    for strength in strengths:
        direction, _ = fit(space.rows[learning], lesson.positive[learning], strength)
        areas.append(_auc(held @ direction, lesson.positive[lesson.chosen_on]))
    # Of equal ones the strongest penalty, which comes first.
    strength = strengths[int(np.argmax(areas))]
    probe = space.probe(*fit(space.rows, lesson.positive, strength))
    return Fitted(probe=probe, strength=strength, choosing_auc=max(areas))


@lru_cache(maxsize=32)
def shuffled(lesson: Lesson, method: str) -> tuple[Probe, ...]:
    """What is learned of the same documents with their labels exchanged at random."""
    space, draw = _space(lesson), generator(0, "probes", "shuffled")
    fit = _logistic if method == "logistic" else _mean_difference
    strength = fitted(lesson, method).strength
    labels = (draw.permutation(lesson.positive) for _ in range(SHUFFLES))
    return tuple(space.probe(*fit(space.rows, positive, strength)) for positive in labels)


@dataclass(frozen=True, eq=False, kw_only=True)
class Space:
    """The space that some rows span, about their mean and in units of their scatter."""

    rows: np.ndarray
    """`[n, rank]`, in the basis."""
    basis: np.ndarray
    """`[rank, width]`, orthonormal."""
    mean: np.ndarray
    """`[width]`."""
    scale: float

    def probe(self, direction: np.ndarray, offset: float) -> Probe:
        """A probe of the whole space."""
        whole = direction @ self.basis / self.scale
        return Probe(whole, offset - float(self.mean @ whole))


def space_of(rows: Annotated[np.ndarray, "documents width"]) -> Space:
    """The space of these rows."""
    mean = rows.mean(axis=0)
    around = rows - mean
    scale = float(np.sqrt((around**2).mean())) or 1.0
    left, size, basis = np.linalg.svd(around / scale, full_matrices=False)
    kept = size > size.max(initial=0.0) * 1e-6
    return Space(rows=left[:, kept] * size[kept], basis=basis[kept], mean=mean, scale=scale)


@lru_cache(maxsize=32)
def _space(lesson: Lesson) -> Space:
    return space_of(lesson.rows)


def _logistic(rows: np.ndarray, positive: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import LogisticRegression  # takes a second to load

    model = LogisticRegression(C=strength, max_iter=1000).fit(rows, positive)
    return model.coef_[0], float(model.intercept_[0])


def _mean_difference(rows: np.ndarray, positive: np.ndarray, _: float) -> tuple[np.ndarray, float]:
    high, low = rows[positive].mean(axis=0), rows[~positive].mean(axis=0)
    return high - low, -float((high - low) @ (high + low)) / 2


def _held_back(positive: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """`[n]`: every fourth group, counted within those that begin with the same class."""
    _, first = np.unique(rank, return_index=True)
    kind = positive[first]
    place = np.where(kind, np.cumsum(kind), np.cumsum(~kind)) - 1
    return np.asarray((place % CHOOSE_ONE_IN == CHOOSE_ONE_IN - 1)[rank])


def _auc(score: np.ndarray, positive: np.ndarray) -> float:
    wins = np.sign(score[positive][:, None] - score[~positive])
    return float((wins.mean() + 1) / 2)
