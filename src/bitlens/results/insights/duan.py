"""The paper's own recipe for how predictable survival is, for its table to be recomputed.

Duan 2026, arXiv 2606.03002, as its code has it: statistics and survival from the same tokens, one
of four columns an exact sum of others (so that single coefficients mean nothing), scaling outside
the folds, near-duplicates in different folds.
"""

from dataclasses import dataclass

import numpy as np

from bitlens.results.insights.logistic import fits
from bitlens.results.insights.measured import Columns
from bitlens.results.insights.prediction import FEWEST, FOLDS, SURVIVED
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
    logistic regression with C = 1, at its optimum; 5 stratified folds, shuffled with seed 0; ROC
    AUC."""
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
    fold = _folds(survived)
    seen = np.arange(FOLDS + 1)[:, None] != fold
    fitted = fits(np.broadcast_to(scaled, (len(seen), *scaled.shape)), survived, seen)
    areas = np.empty(FOLDS)
    for number, weights in enumerate(fitted[:FOLDS, 1:]):
        test = fold == number
        right, pairs = ordered_pairs(
            scaled[test] @ weights, survived[test], np.ones((test.sum(), 1))
        )
        areas[number] = right[0] / pairs[0]
    return DuanFit(
        features=n,
        auc=float(areas.mean()),
        deviation=float(areas.std()),
        coefficients=tuple(fitted[FOLDS, 1:].tolist()),
    )


def _folds(survived: np.ndarray) -> np.ndarray:
    """`[n]`: the fold of each feature, as scikit-learn's StratifiedKFold(5, shuffle=True,
    random_state=0) has it."""
    drawn = np.random.RandomState(0)
    # The kind that comes first is dealt out first.
    later = survived != survived[0]
    dealt = np.sort(later)
    fold = np.empty(len(survived), dtype=np.int64)
    for kind in (False, True):
        counts = [int((dealt[number::FOLDS] == kind).sum()) for number in range(FOLDS)]
        mine = np.repeat(np.arange(FOLDS), counts)
        drawn.shuffle(mine)
        fold[later == kind] = mine
    return fold


_READ = ("r", "rate_reference", "mean_reference", "peak_reference")
