"""Repair without labels: the twin's activations brought back to where the reference's stand, so
that a probe which was made there reads them again.

From pairs of activations of the same documents, in the reference and in the twin; whoever has both
models has them, and no label is read.
"""

from collections.abc import Callable

import numpy as np

from bitlens.analyses.probes.fitting import Lesson, Probe, space_of
from bitlens.results.shared_names import REPAIRED_BY

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the linear map, in units of the mean squared singular value of the twin's activations."""


def shifted(probe: Probe, reference: Lesson, twin: Lesson) -> Probe:
    """By the difference of the means. Ranks stay as they are; a threshold comes back."""
    back = reference.rows.mean(axis=0) - twin.rows.mean(axis=0)
    return Probe(probe.direction, probe.offset + float(back @ probe.direction))


def scaled(probe: Probe, reference: Lesson, twin: Lesson) -> Probe:
    """To the mean and the standard deviation of every dimension."""
    before, after = (of.rows.std(axis=0) for of in (reference, twin))
    ratio = np.divide(before, after, out=np.ones_like(after), where=after > 0)
    direction = probe.direction * ratio
    moved = reference.rows.mean(axis=0) @ probe.direction - twin.rows.mean(axis=0) @ direction
    return Probe(direction, probe.offset + float(moved))


def mapped(probe: Probe, reference: Lesson, twin: Lesson) -> Probe:
    """By the linear map, with a penalty (ridge), that brings the twin's activations nearest to the
    reference's.

    Of such a map only what the probe reads of it is needed, which is the same map onto its score.
    The penalty is chosen on the pairs that the probe's was chosen on.
    """
    target = probe.score(reference.rows)
    learning, held = ~twin.chosen_on, twin.chosen_on
    tried = [_ridge(twin.rows[learning], target[learning], penalty) for penalty in PENALTIES]
    errors = [float(((found.score(twin.rows[held]) - target[held]) ** 2).mean()) for found in tried]
    return _ridge(twin.rows, target, PENALTIES[int(np.argmin(errors))])


def _ridge(rows: np.ndarray, target: np.ndarray, penalty: float) -> Probe:
    """What a ridge regression of the target on some rows says of others."""
    space = space_of(rows)
    square = (space.rows**2).sum(axis=0)
    weight = (space.rows.T @ (target - target.mean())) / (square + penalty * square.mean())
    return space.probe(weight, float(target.mean()))


Way = Callable[[Probe, Lesson, Lesson], Probe]
WAYS: dict[str, Way] = dict(zip(REPAIRED_BY, (shifted, scaled, mapped), strict=True))
"""What is done to the twin's activations before the reference's probe reads them, and that probe
after it: of an affine map and a probe, one probe of the twin's own activations."""
