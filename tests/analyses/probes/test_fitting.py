"""Probes: directions by hand, and by scikit-learn in the whole space."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bitlens.analyses.probes.fitting import STRENGTHS, Lesson, fitted, shuffled


def lesson(width: int = 120, documents: int = 60) -> Lesson:
    """Two classes that differ in one dimension; more dimensions than documents."""
    draw = np.random.default_rng(1)
    positive = np.arange(documents) % 2 == 1
    rows = draw.normal(size=(documents, width)) * draw.gamma(1, 1, width) + 3
    rows[:, 0] += 4 * positive
    return Lesson.of(rows, positive, np.arange(documents) // 2)


def test_a_mean_difference_by_hand() -> None:
    """Means (3, 1) and (1, 1): the direction is (2, 0) and the middle, (2, 1), scores nought."""
    rows = np.array([[4.0, 1], [2, 1], [1, 2], [1, 0]] * 4)
    made = Lesson.of(rows, np.array([True, True, False, False] * 4), np.arange(16))
    probe = fitted(made, "mean difference").probe
    unit = probe.direction / np.linalg.norm(probe.direction)
    assert unit == pytest.approx([1, 0])
    assert probe.score(np.array([[2.0, 1.0]])) == pytest.approx([0.0], abs=1e-12)
    assert probe.score(np.array([[3.0, 1.0], [1.0, 1.0]]))[0] > 0


def test_a_logistic_probe_is_that_of_the_whole_space() -> None:
    """What is found in the space of the documents scores as scikit-learn's solution in all 120
    dimensions, with the penalty that was chosen."""
    of = lesson()
    found = fitted(of, "logistic")
    mean = of.rows.mean(axis=0)
    scaled = (of.rows - mean) / np.sqrt(((of.rows - mean) ** 2).mean())
    whole = LogisticRegression(C=found.strength, tol=1e-8, max_iter=5000)
    expected = whole.fit(scaled, of.positive).decision_function(scaled)
    assert found.strength in STRENGTHS
    assert found.probe.score(of.rows) == pytest.approx(expected, abs=2e-3)
    assert found.choosing_auc > 0.7


def test_the_penalty_is_chosen_on_whole_groups() -> None:
    """One in four, and both classes are among them."""
    of = lesson()
    by_group = of.chosen_on.reshape(-1, 2)
    assert (by_group[:, 0] == by_group[:, 1]).all()
    assert by_group[:, 0].sum() == 7
    assert of.positive[of.chosen_on].mean() == 0.5


def test_shuffled_labels_teach_nothing() -> None:
    """Eight other directions, far from the one that was learned."""
    found = [probe.direction for probe in shuffled(lesson(), "logistic")]
    own = fitted(lesson(), "logistic").probe.direction
    assert len(found) == 8
    cosines = [one @ own / np.linalg.norm(one) / np.linalg.norm(own) for one in found]
    assert max(np.abs(cosines)) < 0.6
