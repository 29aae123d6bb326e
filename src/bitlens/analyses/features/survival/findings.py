"""From the sums of an SAE's codes in two models to what became of its features."""

import numpy as np

from bitlens.analyses.features.survival.codes import codes, levels, token_sets
from bitlens.analyses.features.survival.correlations import (
    agreement,
    intervals,
    medians,
    shares,
    sure,
)
from bitlens.analyses.features.survival.firings import firings, kappa
from bitlens.analyses.features.survival.metrics import METRICS
from bitlens.analyses.features.survival.parts import replicated
from bitlens.analyses.features.survival.sums import Sums, features_of
from bitlens.analyses.features.survival.tables import places, table
from bitlens.engine.analysis import Results
from bitlens.results.records import MetricResult


def survival(sums: Sums, site: str) -> Results:
    """Every metric of one SAE, and the table of its features."""
    label = sums.label
    only = np.setdiff1d(sums.active("twin"), sums.active("reference"))
    features = features_of(sums)
    alive = np.flatnonzero(sums.rates["reference"] + sums.rates["twin"])
    found: Results = [
        *replicated(
            sums,
            lambda some: [*levels(some, len(features)), *codes(some), kappa(some, alive)],
        ),
        token_sets(sums),
    ]
    if len(features) < 2:
        reason = f"{len(features)} features: too few to speak of shares"
        known = {o.metric for o in found if isinstance(o, MetricResult)}
        missing = [m.name for m in METRICS if m.name not in known]
        return [*found, *(MetricResult(m, None, item=label, reason=reason) for m in missing)]

    def alike(some: Sums) -> list[MetricResult]:
        of = agreement(some, features)
        return [*shares(label, of.r), *medians(label, of), *firings(some, features, only)]

    itself = agreement(sums.under(sums.state.weights[:1]), features)
    low, high = intervals(sums, features)
    return [
        *found,
        *replicated(sums, alike),
        *sure(label, low, high),
        table(sums, site, features, only, itself, low, high),
        places(sums, site, features, only, itself.r[0]),
    ]
