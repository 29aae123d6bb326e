"""Stores for a gate: twins whose intervals can be worked out by hand."""

from pathlib import Path
from typing import Any

import numpy as np

from bitlens.results.gating.rule import GateRule
from bitlens.results.store import Store
from tests.support.compared_stores import compared_store

T19 = 2.093024
"""The 97.5th percentile of Student's t with 19 degrees of freedom, from a printed table."""
MEAN, SPREAD = 0.10, 0.01
HALF = T19 * SPREAD / 19**0.5
"""Half the interval of `even`: the 20 shards' standard error is SPREAD / sqrt(19)."""
RTN, NOISE = "rtn:bits=4", "noise:like=[rtn:bits=4]"


def even(mean: float = MEAN, spread: float = SPREAD) -> np.ndarray:
    """Twenty shards, ten a spread below the mean and ten above."""
    return np.array([mean - spread, mean + spread] * 10)


def gate_store(path: Path, mean: float = MEAN, **known: Any) -> Path:
    """A twin with a KL of this mean and half an interval of `HALF`, and the noise of its size, 0.01
    below it in every shard, so that the difference is sure."""
    return compared_store(path, {RTN: even(mean), NOISE: even(mean) - 0.01}, **known)


def amended(path: Path, **changes: Any) -> Path:
    """The store with another manifest in these parts."""
    store = Store(path)
    store.write_manifest({**store.manifest(), **changes})
    return path


def rule(bound: float, **known: Any) -> GateRule:
    """On the KL, at most this, unless told."""
    return GateRule(**{"metric": "behaviour.kl", "side": "at_most", "bound": bound, **known})
