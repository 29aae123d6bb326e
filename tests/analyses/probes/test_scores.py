"""How well scores tell classes apart: by hand, and by scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bitlens.analyses.probes.scores import share_above, threshold_at, weighted_auc


def test_an_area_by_hand() -> None:
    """Scores 3 and 1 against 2, 1 and 0: four of six pairs are right, one is even; without the
    document of score 1, three of three."""
    score = np.array([3.0, 1.0, 2.0, 1.0, 0.0])
    positive = np.array([True, True, False, False, False])
    weights = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 1]], dtype=float)
    assert weighted_auc(score, positive, weights) == pytest.approx([4.5 / 6, 1.0])


def test_areas_are_those_of_scikit_learn() -> None:
    """Of scores with ties, under any weights."""
    draw = np.random.default_rng(0)
    positive = draw.random(70) < 0.4
    score = np.round(draw.normal(size=70) + positive, 1)
    weights = draw.integers(0, 4, (5, 70)).astype(float)
    expected = [roc_auc_score(positive, score, sample_weight=w) for w in weights]
    assert weighted_auc(score, positive, weights) == pytest.approx(expected, abs=1e-12)


def test_a_threshold_by_hand() -> None:
    """Of 300 scores 0, 1, ... 299 one in a hundred lies above 296; with only the even ones, one
    above 296, because two would be too many."""
    score = np.arange(300.0)
    weights = np.stack([np.ones(300), (np.arange(300) % 2 == 0).astype(float)])
    found = threshold_at(score, weights)
    assert found.tolist() == [296.0, 296.0]
    assert share_above(score, found, weights) == pytest.approx([3 / 300, 1 / 150])
    assert share_above(score + 3, found, weights) == pytest.approx([6 / 300, 3 / 150])
