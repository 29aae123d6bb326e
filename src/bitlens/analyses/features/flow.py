"""The flow of latents between dead, rare, common and frequent ones, from reference to twin."""

import numpy as np

from bitlens.analyses.features.survival import BOTH, Sums, replicated
from bitlens.engine.analysis import Results
from bitlens.results.records import DetailTable, Metric, MetricResult
from bitlens.results.stats.firings import FIRINGS, repeatedly
from bitlens.sae.firing_categories import CATEGORIES, categories
from bitlens.sae.firing_categories import flow as counts

FLOW = "flow"
"""The table of how many latents went from which category to which."""
CHANGED = Metric(
    "category_changed",
    "What share of the latents that fire ten times or more in either model are of another category "
    "in the twin: dead, rare (below 1 % of positions, or fewer than ten times), common, or "
    "frequent (a half or more)?",
    unit="share",
    worse="higher",
    intact=0.0,
    scale="logit",
)


def flow(sums: Sums, site: str) -> Results:
    """One row a pair of categories, and the share of latents that change theirs.

    Latents that fire seldom in both models are counted in the table and change no share. Rates do
    not see which positions they are of, so that chance is not told.
    """
    label, size = sums.label, len(CATEGORIES)
    before, after = (sums.value(f"fired_{who}") for who in BOTH)
    found = counts(before, after, int(sums.count[0, 0]))
    columns = {
        "sae": [label] * size**2,
        "site": [site] * size**2,
        "reference": np.repeat(CATEGORIES, size),
        "twin": np.tile(CATEGORIES, size),
        "latents": found.ravel(),
    }
    return [*replicated(sums, _changed), DetailTable(FLOW, columns)]


def _changed(sums: Sums) -> list[MetricResult]:
    often = np.any([repeatedly(sums.value(f"fired_{who}")) for who in BOTH], axis=0)
    if not often.any():
        return [
            MetricResult(
                CHANGED.name, None, item=sums.label, reason=f"no latent fires {FIRINGS} times"
            )
        ]
    before, after = (
        categories(sums(f"fired_{who}", np.flatnonzero(often)), sums.count) for who in BOTH
    )
    return [MetricResult(CHANGED.name, (before != after).mean(axis=1), item=sums.label)]
