"""Do latents fire as often in the twin? The flow between dead, rare, common and frequent ones."""

import numpy as np

from bitlens.analyses.analysis import Findings, Outcome, Shown
from bitlens.analyses.survival import Sums, replicated
from bitlens.records import Metric
from bitlens.sae.categories import CATEGORIES, categories
from bitlens.sae.categories import flow as counts

FLOW = "flow"
"""The table of how many latents went from which category to which."""
CHANGED = Metric(
    "category_changed",
    "What share of the latents that fire in either model are of another category in the twin: "
    "dead, rare (below 1 % of positions), common, or frequent (a half or more)?",
    "share",
    "higher",
    0.0,
    "logit",
)


def flow(sums: Sums, site: str) -> Findings:
    """One row a pair of categories, and the share of latents that change theirs.

    Latents that fire in neither model are counted in the table and change no share. Rates do not
    see which positions they are of, so that chance is not told.
    """
    label, size = sums.label, len(CATEGORIES)
    found = counts(*sums.rates.values())
    columns = {
        "sae": [label] * size**2,
        "site": [site] * size**2,
        "reference": np.repeat(CATEGORIES, size),
        "twin": np.tile(CATEGORIES, size),
        "latents": found.ravel(),
    }
    return [*replicated(sums, _changed), Shown(FLOW, columns)]


def _changed(sums: Sums) -> list[Outcome]:
    fires = np.flatnonzero(sum(sums.rates.values()))
    rates = [sums(f"fired_{who}", fires) / sums.count for who in sums.rates]
    number = ((rates[0] > 0) | (rates[1] > 0)).sum(axis=1)
    if not np.all(number > 0):
        return [Outcome(CHANGED.name, None, sums.label, reason="no latent fires")]
    before, after = map(categories, rates)
    return [Outcome(CHANGED.name, (before != after).sum(axis=1) / number, sums.label)]
