"""The area under the ROC curve: by hand, and against scikit-learn with weights and ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from bitlens.results.stats.ranking import ordered_pairs


def test_pairs_by_hand() -> None:
    """Positives 3 and 2, negatives 1 and 2: above in three pairs, level in one: 3.5 of 4. With
    the 3 drawn twice: 5.5 of 6."""
    score, positive = np.array([3.0, 2, 1, 2]), np.array([True, True, False, False])
    right, every = ordered_pairs(score, positive, np.array([[1.0, 2], [1, 1], [1, 1], [1, 1]]))
    assert right.tolist() == [3.5, 5.5]
    assert every.tolist() == [4, 6]


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_agrees_with_scikit_learn(seed: int) -> None:
    """With ties and weights of zero."""
    draw = np.random.default_rng(seed)
    score, positive = draw.integers(0, 8, 40) / 8, draw.random(40) < 0.5
    positive[:2] = True, False
    weights = draw.integers(0, 3, (3, 40)).astype(float)
    weights[:, :2] = 1
    right, every = ordered_pairs(score, positive, weights.T)
    expected = [roc_auc_score(positive, score, sample_weight=w) for w in weights]
    assert right / every == pytest.approx(expected)
