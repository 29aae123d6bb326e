"""Boosted trees: one by hand, all of them against scikit-learn."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from bitlens.results.insights import boosting
from bitlens.results.insights.boosting import boosted


def test_one_tree_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty rows of either kind, parted by the second column. At first each has a chance of 0.5:
    slope 0.5, curvature 0.25, so a tree's step is 40 * 0.5 / (40 * 0.25) = 2, of which a tenth is
    gone. What no row has said of itself, a third sort that was not seen, goes with its side."""
    monkeypatch.setattr(boosting, "TREES", 1)
    outcome = np.arange(80) >= 40
    columns = np.stack([np.zeros(80), outcome * 2.0], axis=1)
    columns = np.concatenate([columns, [[9.0, 1.5]]])
    seen = np.arange(81)[None] < 80
    (chance,) = boosted(columns, np.append(outcome, False), seen)
    up = 1 / (1 + np.exp(-0.2))
    assert chance == pytest.approx([*[1 - up] * 40, *[up] * 41])


def test_leaves_are_not_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nineteen rows of forty are no leaf, twenty are."""
    monkeypatch.setattr(boosting, "TREES", 1)
    for few, parted in ((19, False), (20, True)):
        outcome = np.arange(40) < few
        (chance,) = boosted(outcome[:, None] * 1.0, outcome, np.ones((1, 40), bool))
        assert (len(set(chance.tolist())) == 2) is parted


@pytest.mark.parametrize("trees", [10, boosting.TREES])
def test_agrees_with_scikit_learn(trees: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two samples at once, of rows that either may see and of others."""
    monkeypatch.setattr(boosting, "TREES", trees)
    draw = np.random.default_rng(0)
    columns = draw.normal(size=(400, 3))
    outcome = columns[:, 0] * columns[:, 1] + 0.5 * draw.normal(size=400) > 0
    samples = draw.random((2, 400)) < 0.8
    for seen, chance in zip(samples, boosted(columns, outcome, samples), strict=True):
        other = HistGradientBoostingClassifier(
            max_iter=trees, max_depth=3, max_leaf_nodes=8, max_bins=32, early_stopping=False
        ).fit(columns[seen], outcome[seen])
        assert chance == pytest.approx(other.predict_proba(columns)[:, 1], abs=1e-6)
