"""What all heads of a kind have left: how many stay above a score, their mean, their order."""

import numpy as np
from scipy.stats import rankdata

from bitlens.engine.analysis import Results
from bitlens.results.records import Metric, MetricResult

THRESHOLDS = tuple(range(10, 100, 10))
"""Per cent of attention above which a head counts, for the curve of survival."""
COUNTED = 40
"""The one of them above which a head counts where there is to be one number."""


def survival_metrics(kind: str) -> tuple[Metric, ...]:
    """The numbers that `survival` gives for a kind of head."""
    return (
        *(
            Metric(
                f"{kind}_kept_{t}",
                f"Of the reference's heads whose {kind} score is above {t / 100:g}, how many stay "
                "above it?",
                unit="share",
                worse="lower",
                intact=1.0,
                interval=False,
            )
            for t in THRESHOLDS
        ),
        *_mean_metrics(kind),
        Metric(
            f"{kind}_rank",
            f"Are heads in the same order by {kind} score? Spearman correlation over all heads.",
            unit="",
            worse="lower",
            intact=1.0,
            scale="atanh",
            source="Spearman 1904",
        ),
    )


def _mean_metrics(kind: str) -> tuple[Metric, ...]:
    return (
        Metric(
            f"{kind}_mean_change",
            f"How did the {kind} scores of the heads above {COUNTED / 100:g} in the reference "
            "change, on average?",
            unit="share",
            worse="lower",
            intact=0.0,
        ),
        Metric(
            f"{kind}_score_kept",
            f"How much is left of the mean {kind} score of the heads above {COUNTED / 100:g} in "
            "the reference? The twin's mean over the reference's.",
            unit="share",
            worse="lower",
            intact=1.0,
        ),
    )


def survival(
    kind: str,
    chosen_on: np.ndarray,
    beside: np.ndarray,
    reference: np.ndarray,
    twin: np.ndarray,
) -> Results:
    """How many heads stay, whatever the threshold; `reference` and `twin`
    `[replicates + 1, heads]`. How sure each head is, its own interval says; a count of heads that
    leaving a sequence out does not change would look surer than it is."""
    found: Results = [
        _rank(kind, reference, twin),
        *_mean_scores(kind, chosen_on, reference, twin, beside),
    ]
    for t in THRESHOLDS:
        heads = (chosen_on > t / 100) & (reference[0] > t / 100)
        metric = f"{kind}_kept_{t}"
        if heads.any():
            kept = (twin[:1, heads] > t / 100).mean(axis=1)
            chance = float((beside[heads] > t / 100).mean())
            found.append(MetricResult(metric, kept, chance=chance, site="pattern"))
        else:
            reason = f"the reference has no head whose {kind} score is above {t / 100:g}"
            found.append(MetricResult(metric, None, reason=reason, site="pattern"))
    if kind == "induction":
        level = float(reference[0].mean() + 2 * reference[0].std())
        found += [
            _kept("induction_kept_readme", reference, twin, beside, 0.4, 0.4),
            _kept("induction_kept_code", reference, twin, beside, level, level / 2),
        ]
    return found


def _kept(
    metric: str,
    reference: np.ndarray,
    twin: np.ndarray,
    beside: np.ndarray,
    was: float,
    stays: float,
) -> MetricResult:
    heads = reference[0] > was
    if not heads.any():
        reason = f"the reference has no head with an induction score above {was:.2g}"
        return MetricResult(metric, None, reason=reason, site="pattern")
    chance = float((beside[heads] > stays).mean())
    kept = (twin[:1, heads] > stays).mean(axis=1)
    return MetricResult(metric, kept, chance=chance, site="pattern")


def _mean_scores(
    kind: str, chosen_on: np.ndarray, reference: np.ndarray, twin: np.ndarray, beside: np.ndarray
) -> Results:
    """What a count at a cut does not see: all may fall and none below it."""
    change, left = f"{kind}_mean_change", f"{kind}_score_kept"
    heads = (chosen_on > COUNTED / 100) & (reference[0] > COUNTED / 100)
    if not heads.any():
        reason = f"the reference has no head whose {kind} score is above {COUNTED / 100:g}"
        return [MetricResult(name, None, reason=reason, site="pattern") for name in (change, left)]
    before, after = (scores[:, heads].mean(axis=1) for scores in (reference, twin))
    chance = float(beside[heads].mean() / before[0])
    return [
        MetricResult(change, (twin - reference)[:, heads].mean(axis=1), site="pattern"),
        MetricResult(left, after / before, chance=chance, site="pattern"),
    ]


def _rank(kind: str, reference: np.ndarray, twin: np.ndarray) -> MetricResult:
    ranks = [rankdata(scores, axis=1) for scores in (reference, twin)]
    centred = [r - r.mean(axis=1, keepdims=True) for r in ranks]
    spread = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    metric = f"{kind}_rank"
    if not np.all(spread > 0):
        return MetricResult(metric, None, reason="all heads have one score", site="pattern")
    value = (centred[0] * centred[1]).sum(axis=1) / spread
    return MetricResult(metric, value, chance=0.0, site="pattern")
