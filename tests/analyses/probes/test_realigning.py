"""Repair without labels: what was moved comes back, by hand and by scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from bitlens.analyses.probes.fitting import Lesson, Probe
from bitlens.analyses.probes.realigning import PENALTIES, mapped, scaled, shifted


def lessons(twin: np.ndarray, rows: np.ndarray) -> tuple[Lesson, Lesson]:
    positive = np.arange(len(rows)) % 2 == 0
    return tuple(Lesson.of(of, positive, np.arange(len(rows))) for of in (rows, twin))  # type: ignore[return-value]


def drawn(documents: int = 80, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(documents, width)) * np.arange(1, width + 1)


PROBE = Probe(np.array([1.0, -2, 0, 0.5, 0, 1]), 0.3)


def test_a_shift_is_taken_back() -> None:
    """Means (1, 1) and (4, 1): a row of (4, 3) is read as (1, 3)."""
    rows = np.array([[0.0, 0], [2, 2]] * 4)
    before, after = lessons(rows + np.array([3.0, 0]), rows)
    found = shifted(Probe(np.array([1.0, 10.0]), 0.0), before, after)
    assert found.score(np.array([[4.0, 3.0]])) == pytest.approx([31.0])


def test_scale_is_taken_back() -> None:
    """Every dimension doubled and moved: the scores are the reference's."""
    rows = drawn()
    before, after = lessons(2 * rows + 5, rows)
    others = np.random.default_rng(1).normal(size=(7, 6))
    found = scaled(PROBE, before, after)
    assert found.score(2 * others + 5) == pytest.approx(PROBE.score(others))


def test_a_rotation_is_taken_back_by_a_map_alone() -> None:
    """Dimensions mixed: a linear map of the pairs reads as the reference does; a shift does not."""
    rows, draw = drawn(), np.random.default_rng(2)
    mix = np.linalg.qr(draw.normal(size=(6, 6)))[0]
    before, after = lessons(rows @ mix, rows)
    others = draw.normal(size=(50, 6))
    own = PROBE.score(others)
    assert mapped(PROBE, before, after).score(others @ mix) == pytest.approx(own, abs=0.02)
    assert np.abs(shifted(PROBE, before, after).score(others @ mix) - own).max() > 0.5


def test_the_map_is_scikit_learn_s_ridge() -> None:
    """From the twin's activations to the reference's, all dimensions, with the penalty that leaves
    the least error on the pairs held back; then read by the probe."""
    rows, draw = drawn(40, 6), np.random.default_rng(3)
    twin = rows + draw.normal(size=rows.shape)
    before, after = lessons(twin, rows)
    others = draw.normal(size=(9, 6))
    found = mapped(PROBE, before, after).score(others)
    candidates = []
    for penalty in PENALTIES:
        around = twin - twin.mean(axis=0)
        alpha = penalty * (around**2).sum() / around.shape[1]
        whole = Ridge(alpha=alpha).fit(twin, rows).predict(others)
        candidates.append(np.abs(PROBE.score(whole) - found).max())
    assert min(candidates) < 1e-9
