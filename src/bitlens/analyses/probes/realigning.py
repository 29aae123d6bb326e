"""Repair without labels: the twin's activations brought back to where the reference's stand, so
that a probe which was made there reads them again.

From pairs of activations of the same documents, in the reference and in the twin; whoever has both
models has them, and no label is read.
"""

from collections.abc import Callable
from typing import Annotated

import numpy as np

from bitlens.analyses.probes.fitting import Lesson, Probe, space_of

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the linear map, in units of the mean squared singular value of the twin's activations."""

Rows = Annotated[np.ndarray, "documents width"]
Scores = Annotated[np.ndarray, "documents"]


def shifted(probe: Probe, reference: Lesson, twin: Lesson, rows: Rows) -> Scores:
    """By the difference of the means. Ranks stay as they are; a threshold comes back."""
    return probe.score(rows - twin.rows.mean(axis=0) + reference.rows.mean(axis=0))


def scaled(probe: Probe, reference: Lesson, twin: Lesson, rows: Rows) -> Scores:
    """To the mean and the standard deviation of every dimension."""
    before, after = (of.rows.std(axis=0) for of in (reference, twin))
    ratio = np.divide(before, after, out=np.ones_like(after), where=after > 0)
    return probe.score((rows - twin.rows.mean(axis=0)) * ratio + reference.rows.mean(axis=0))


def mapped(probe: Probe, reference: Lesson, twin: Lesson, rows: Rows) -> Scores:
    """By the linear map, with a penalty (ridge), that brings the twin's activations nearest to the
    reference's.

    Of such a map only what the probe reads of it is needed, which is the same map onto its score.
    The penalty is chosen on the pairs that the probe's was chosen on.
    """
    target = probe.score(reference.rows)
    learning, held = ~twin.chosen_on, twin.chosen_on
    tried = [
        _ridge(twin.rows[learning], target[learning], penalty, twin.rows[held])
        for penalty in PENALTIES
    ]
    errors = [float(((found - target[held]) ** 2).mean()) for found in tried]
    return _ridge(twin.rows, target, PENALTIES[int(np.argmin(errors))], rows)


def _ridge(rows: Rows, target: Scores, penalty: float, others: Rows) -> Scores:
    """What a ridge regression of the target on some rows says of others."""
    space = space_of(rows)
    square = (space.rows**2).sum(axis=0)
    weight = (space.rows.T @ (target - target.mean())) / (square + penalty * square.mean())
    probe = space.probe(weight, float(target.mean()))
    return probe.score(others)


Way = Callable[[Probe, Lesson, Lesson, Rows], Scores]
WAYS: dict[str, Way] = {"mean shift": shifted, "mean and scale": scaled, "linear map": mapped}
"""What is done to the twin's activations before the reference's probe reads them."""
