"""The paper's own recipe for how predictable survival is, for its table to be recomputed.

Duan 2026, arXiv 2606.03002, as its code has it: statistics and survival from the same tokens, one
of four columns an exact sum of others (so that single coefficients mean nothing), scaling outside
the folds, near-duplicates in different folds.
"""

from dataclasses import dataclass

import numpy as np

from bitlens.results.insights.measured import Columns
from bitlens.results.insights.prediction import FEWEST, SURVIVED
from bitlens.results.stats.ranking import ordered_pairs

COLUMNS = ("rarity", "log mean", "log max", "log concentration")


@dataclass(frozen=True, kw_only=True)
class DuanFit:
    """What the recipe gives for one twin, or a reason why it gives nothing."""

    features: int
    auc: float | None
    """Mean over five folds."""
    deviation: float | None
    """Standard deviation over the folds: not an interval."""
    coefficients: tuple[float, ...] = ()
    """The coefficients of the scaled `COLUMNS`, fitted on everything."""
    reason: str | None = None


def recipe(features: Columns) -> DuanFit:
    """Standardised rarity (-ln rate), ln mean, ln max and ln(max / mean) over all positions; L2
    logistic regression with C = 1; 5 stratified folds, shuffled with seed 0; ROC AUC."""
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    known = np.isfinite(features["r"]) & (features["mean_reference"] > 0)
    mine = {name: features[name][known] for name in _READ}
    survived = mine["r"] > SURVIVED
    n, kept = len(survived), int(survived.sum())
    if min(kept, n - kept) < FEWEST:
        reason = f"{kept:,} of {n:,} features survive: it takes {FEWEST} of either kind"
        return DuanFit(features=n, auc=None, deviation=None, reason=reason)
    rate, mean, peak = (mine[f"{name}_reference"] for name in ("rate", "mean", "peak"))
    columns = np.stack([-np.log(rate), np.log(mean), np.log(peak), np.log(peak / mean)], axis=1)
    scaled = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    model = LogisticRegression(C=1.0, max_iter=1000)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    areas = np.empty(5)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for number, (train, test) in enumerate(folds.split(scaled, survived)):
            score = model.fit(scaled[train], survived[train]).decision_function(scaled[test])
            right, pairs = ordered_pairs(score, survived[test], np.ones((len(test), 1)))
            areas[number] = right[0] / pairs[0]
        coefficients = model.fit(scaled, survived).coef_[0]
    return DuanFit(
        features=n,
        auc=float(areas.mean()),
        deviation=float(areas.std()),
        coefficients=tuple(coefficients.tolist()),
    )


_READ = ("r", "rate_reference", "mean_reference", "peak_reference")
