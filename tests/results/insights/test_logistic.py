"""Logistic regression: by hand, and against scikit-learn run to its end."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from bitlens.results.insights.logistic import chances, fits, scaled


def test_a_column_that_tells_nothing_by_hand() -> None:
    """Three of four are true whatever the column is: the chance is 0.75 and the intercept ln 3."""
    columns = np.zeros((1, 4, 1))
    outcome = np.array([True, True, True, False])
    found = fits(columns, outcome, np.ones((1, 4), dtype=bool))
    assert found[0] == pytest.approx([np.log(3), 0])
    assert chances(columns, found)[0] == pytest.approx([0.75] * 4)


def test_the_penalty_by_hand() -> None:
    """Rows at -1 and 1, false and true: no intercept, and w where its slope w - 2 / (1 + e^w) is 0,
    at 0.6748: e^0.6748 is 1.9637 and 2 / 2.9637 is 0.6748."""
    found = fits(np.array([[[-1.0], [1.0]]]), np.array([False, True]), np.ones((1, 2), dtype=bool))
    w = found[0, 1]
    assert found[0, 0] == pytest.approx(0)
    assert w == pytest.approx(2 / (1 + np.exp(w)))
    assert w == pytest.approx(0.6748, abs=1e-4)


@pytest.mark.parametrize("parted", [False, True])
def test_agrees_with_scikit_learn(parted: bool) -> None:
    """Five samples at once, each scaled by itself, noisy or parted by one column."""
    draw = np.random.default_rng(0)
    columns = draw.normal(size=(300, 4)) * [5, 0.1, 1, 3] + 3
    columns[:, 3] = 7
    outcome = columns[:, 0] + (0 if parted else 5) * draw.normal(size=300) > 3
    fold = draw.integers(0, 5, 300)
    samples = fold[None] != np.arange(5)[:, None]
    within = scaled(columns, samples)
    told = chances(within, fits(within, outcome, samples))
    for seen, x, chance in zip(samples, within, told, strict=True):
        by_them = StandardScaler().fit(columns[seen]).transform(columns)
        assert x == pytest.approx(by_them, abs=1e-9)
        model = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000)
        model.fit(by_them[seen], outcome[seen])
        assert chance == pytest.approx(model.predict_proba(by_them)[:, 1], abs=1e-6)
