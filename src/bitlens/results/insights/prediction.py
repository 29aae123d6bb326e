"""Prediction of which features survive, from the reference alone: could one have known?

Survival (r above 0.9) on one half of the documents, from what features are like on the other.
Everything is out of fold: no model has seen a feature it is scored on, nor a near-duplicate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from bitlens.results.insights.boosting import boosted
from bitlens.results.insights.logistic import chances, fits, scaled
from bitlens.results.insights.measured import Columns
from bitlens.results.stats.firings import ACTIVE
from bitlens.results.stats.intervals import middle
from bitlens.results.stats.ranking import ordered_pairs
from bitlens.seeds import derive, generator

SURVIVED = 0.9
"""Correlation above which a feature survived, as in the paper."""
FEWEST = 30
"""Features of either kind below which nothing is said."""
FOLDS = 5
DRAWS = 1000
AT_ONCE = 200
"""Draws that are worked on together: bounds the memory."""
BINS = 10

REFERENCE_ONLY = (
    "rate",
    "mean",
    "peak",
    "concentration",
    "decoder norm",
    "encoder norm",
    "bias",
    "nearest",
)
"""What can be known before there is a twin."""
BASELINE, LOGISTIC, BOOSTING = "signal to noise", "logistic", "boosting"
PEAK, ERROR, SURVIVAL = "peak alone", "with local error", "r on the other half"
PREDICTORS: Mapping[str, tuple[str, ...]] = {
    BASELINE: ("signal to noise",),
    PEAK: ("peak",),
    LOGISTIC: REFERENCE_ONLY,
    BOOSTING: REFERENCE_ONLY,
    ERROR: (*REFERENCE_ONLY, "local error"),
    SURVIVAL: ("r",),
}
"""By name, the columns each sees; of the twin, on the first half, the last but one sees its block's
weights at work on the reference's activations, the last the twin itself."""


@dataclass(frozen=True)
class Bin:
    """Features to which about the same chance was given."""

    count: int
    predicted: float
    """Mean of the probabilities of survival."""
    survived: float
    """Share of them that did."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well a predictor does, with 95 % intervals over features."""

    auc: float
    """How often, of two features of a fold, one that survived and one that did not, the first is
    held more likely to."""
    low: float
    high: float
    gain: float
    """AUC less that of signal to noise."""
    gain_low: float
    gain_high: float
    brier: float
    """Mean squared distance of probability from outcome (Brier 1950)."""
    bins: tuple[Bin, ...]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was found for one twin, or a reason why nothing was."""

    features: int
    groups: int
    """Near-duplicates (a chain of decoder cosines above 0.7) count as one."""
    survived: float | None
    """Share of the features, on the second half."""
    scores: Mapping[str, Score]
    reason: str | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    """By predictor, why it has no score beside the others."""
    chances: Mapping[int, float] = field(default_factory=dict)
    """By latent, how probable logistic regression thinks its survival, fitted on others."""

    @property
    def uncertain(self) -> float:
        """Brier score of always saying the share that survived."""
        return 0.0 if self.survived is None else self.survived * (1 - self.survived)


def predict(halves: Columns, seed: int = 0) -> Prediction:
    """Is survival on the second half known from the first?

    Features that fire on less than 0.1 % of the first half, or never on the second, are left out.
    Scaling and fitting happen within the folds, which keep near-duplicates together; an area is
    over pairs within a fold. Intervals are percentiles of 1,000 bootstrap draws of groups of
    near-duplicates with the fitted predictors as they are: they say how far another set of such
    features would move the number, not other documents, and not another fit. In simulation (400
    and 1,000 features, 40 runs) they held the mean in 92 to 100 % of runs where there was
    something to find; where there was nothing, so that a fit points anywhere, in 80 to 93 %.
    """
    if not halves:
        reason = "the run did not split its documents into halves"
        return Prediction(features=0, groups=0, survived=None, scores={}, reason=reason)
    mine = _considered(halves)
    survived = mine["r_second"] > SURVIVED
    n, kept = len(survived), int(survived.sum())
    group = np.unique(mine["group"], return_inverse=True)[1]
    groups = int(group.max()) + 1 if n else 0
    share = kept / n if n else None
    if min(kept, n - kept) < FEWEST:
        reason = f"{kept:,} of {n:,} features survive: it takes {FEWEST} of either kind"
        return Prediction(features=n, groups=groups, survived=share, scores={}, reason=reason)
    columns = described(mine)
    fold = _folds(survived, group, seed)
    if fold is None:
        reason = "near-duplicates join so many features that folds without one kind are left"
        return Prediction(features=n, groups=groups, survived=share, scores={}, reason=reason)
    found = {
        name: _out_of_fold(name, np.stack([columns[c] for c in of], axis=1), survived, fold=fold)
        for name, of in PREDICTORS.items()
        if all(np.isfinite(columns[c]).all() for c in of)
    }
    missing = {} if ERROR in found else {ERROR: _without_error(mine)}
    scores = _scores(found, survived, group, fold=fold, seed=seed)
    latents = zip(mine["latent"].tolist(), found[LOGISTIC].tolist(), strict=True)
    return Prediction(
        features=n,
        groups=groups,
        survived=share,
        scores=scores,
        missing=missing,
        chances=dict(latents),
    )


def _considered(halves: Columns) -> Columns:
    known = (
        (halves["rate_first"] > ACTIVE)
        & (halves["sparseness_first"] < 1)
        & np.isfinite(halves["r_first"])
        & np.isfinite(halves["r_second"])
    )
    return {name: values[known] for name, values in halves.items()}


def _without_error(halves: Columns) -> str:
    if "local_error_first" not in halves:
        return (
            "the results were written before it was read; the command that made them, again, "
            "adds it"
        )
    return (
        "no block of the twin was run on the reference's input there (the embedding has none, and "
        "the documents that are run so may all be of the other half)"
    )


def described(halves: Columns) -> Columns:
    """What predictors see of each feature; sizes as logarithms, in which the classifiers and the
    baseline are linear.

    Signal to noise: a feature whose strength has variance v, and to which noise is added wherever
    it fires, correlates with itself at 1 / sqrt(1 + rate * noise / v). Of equal noise in all
    directions the encoder lets through its squared norm. `concentration` is the squared
    coefficient of variation, 1 / sparseness - 1 (of sparseness as Treves and Rolls 1991 have it).
    The local error is NaN where a store does not have it.
    """
    spread = 1 / halves["sparseness_first"] - 1
    variance = halves["mean_first"] ** 2 * spread
    noise = halves["rate_first"] * halves["encoder_norm"] ** 2
    return {
        "rate": _log(halves["rate_first"]),
        "mean": _log(halves["mean_first"]),
        "peak": _log(halves["peak_first"]),
        "concentration": _log(spread),
        "decoder norm": _log(halves["decoder_norm"]),
        "encoder norm": _log(halves["encoder_norm"]),
        "bias": halves["bias"],
        "nearest": halves["nearest"],
        "signal to noise": _log(variance) - _log(noise),
        "local error": _log(halves.get("local_error_first", np.full(len(spread), np.nan))),
        "r": np.arctanh(np.clip(halves["r_first"], -1 + 1e-9, 1 - 1e-9)),
    }


def _log(values: np.ndarray) -> np.ndarray:
    """A twin without any error has one, too: the smallest there is."""
    return np.asarray(np.log(np.maximum(values, np.finfo(np.float32).tiny)))


def _folds(survived: np.ndarray, group: np.ndarray, seed: int) -> np.ndarray | None:
    """`[n]`: in which fold each feature is, groups drawn as scikit-learn's GroupKFold draws them;
    None where a fold would leave only one kind to learn from."""
    groups = int(group.max()) + 1
    if groups < FOLDS:
        return None
    # Its generator is of the old kind; so are numbers that stand in pages already.
    shuffled = np.random.RandomState(derive(seed, "prediction") % (1 << 32)).permutation(groups)
    at = np.empty(groups, dtype=np.int64)
    for number, part in enumerate(np.array_split(shuffled, FOLDS)):
        at[part] = number
    fold = at[group]
    kept = np.bincount(fold, survived, FOLDS)
    others = survived.sum() - kept
    rest = len(fold) - np.bincount(fold, minlength=FOLDS)
    return None if ((others == 0) | (others == rest)).any() else fold


def _out_of_fold(
    name: str, columns: np.ndarray, survived: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """`[n]`: each feature's probability of survival, by a model of the other folds."""
    known = np.unique(fold)
    others = fold[None] != known[:, None]
    if name == BOOSTING:
        found = boosted(columns, survived, others)
    else:
        within = scaled(columns, others)
        found = chances(within, fits(within, survived, others))
    return np.asarray(found[np.searchsorted(known, fold), np.arange(len(fold))])


def _scores(
    found: Mapping[str, np.ndarray],
    survived: np.ndarray,
    group: np.ndarray,
    fold: np.ndarray,
    seed: int,
) -> dict[str, Score]:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in found}
    for weights in _draws(group, seed):
        for name, area in _areas(found, survived, fold, weights).items():
            parts[name].append(area)
    areas = {name: np.concatenate(drawn) for name, drawn in parts.items()}
    return {
        name: _score(area, area - areas[BASELINE], found[name], survived)
        for name, area in areas.items()
    }


def _score(area: np.ndarray, gain: np.ndarray, chance: np.ndarray, survived: np.ndarray) -> Score:
    """One predictor's score, from its areas and what they gain on the baseline's, draw by draw."""
    auc, low, high = _interval(area)
    more, gain_low, gain_high = _interval(gain)
    return Score(
        auc=auc,
        low=low,
        high=high,
        gain=more,
        gain_low=gain_low,
        gain_high=gain_high,
        brier=float(np.mean((chance - survived) ** 2)),
        bins=tuple(reliability(chance, survived)),
    )


def _interval(draws: np.ndarray) -> tuple[float, float, float]:
    """The value, which is the first, and its bounds; draws without one of both kinds are left
    out."""
    value = float(draws[0])
    low, high = middle(value, draws[1:][np.isfinite(draws[1:])])
    return value, float(low), float(high)


def _draws(group: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Weights `[n, draws]` of the features, the value itself first, a few draws at a time."""
    yield np.ones((len(group), 1))
    drawn = _drawn(int(group.max()) + 1, seed)
    for start in range(0, DRAWS, AT_ONCE):
        part = np.ascontiguousarray(drawn[start : start + AT_ONCE].T, dtype=np.float64)
        yield part[group]


@lru_cache(maxsize=1)
def _drawn(count: int, seed: int) -> np.ndarray:
    """`[draws, count]`: how often each group is drawn; twins with as many groups have the same."""
    random = generator(seed, "prediction", "draws")
    even = np.full(count, 1 / count)
    return random.multinomial(count, even, size=DRAWS).astype(np.min_scalar_type(count))


def _areas(
    chances: Mapping[str, np.ndarray], survived: np.ndarray, fold: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """`[draws]` by predictor: the area under the ROC curve, over pairs within a fold."""
    sums = {name: np.zeros((2, weights.shape[1])) for name in chances}
    for number in np.unique(fold):
        mine = fold == number
        drawn, kept = weights[mine], survived[mine]
        for name, chance in chances.items():
            sums[name] += ordered_pairs(chance[mine], kept, drawn)
    return {
        name: np.divide(right, pairs, np.full(len(pairs), np.nan), where=pairs > 0)
        for name, (right, pairs) in sums.items()
    }


def reliability(chance: np.ndarray, survived: np.ndarray) -> list[Bin]:
    """When it says 70 %, do 70 % survive? Bins of about as many features each."""
    parts = np.array_split(np.argsort(chance, kind="stable"), BINS)
    return [Bin(len(p), float(chance[p].mean()), float(survived[p].mean())) for p in parts]
