"""Scales on which a metric's error is symmetric: the maps to them and back, and their ranges.

A mean KL cannot be negative and a CKA cannot exceed 1: an interval built on ln x or ln(1 - x) and
carried back keeps to the range and covers better than one built on the number itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bitlens.results import records


@dataclass(frozen=True)
class Scale:
    """A monotone map of a metric's range onto the real line, and back."""

    forward: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]
    lowest: float = -np.inf
    """The least the metric can be."""
    highest: float = np.inf
    """The most the metric can be."""


def _logit(x: np.ndarray) -> np.ndarray:
    from scipy.special import logit  # as in intervals.py

    return np.asarray(logit(x))


def _expit(t: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(t))


SCALES: dict[records.Scale, Scale] = {
    "linear": Scale(lambda x: x, lambda t: t),
    "log": Scale(np.log, np.exp, lowest=0.0),
    "log1m": Scale(lambda x: np.log1p(-x), lambda t: -np.expm1(t), highest=1.0),
    "atanh": Scale(np.arctanh, np.tanh, lowest=-1.0, highest=1.0),
    "logit": Scale(_logit, _expit, lowest=0.0, highest=1.0),
}


def to_scale(numbers: np.ndarray, scale: records.Scale) -> np.ndarray | None:
    """The numbers on the scale; None where one of them is at the edge or outside its range."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mapped = SCALES[scale].forward(np.asarray(numbers, dtype=np.float64))
    return mapped if np.isfinite(mapped).all() else None
