"""What of single features is shown: a row each, and where some of them fire most."""

import numpy as np

from bitlens.analyses.features.survival.correlations import Agreement
from bitlens.analyses.features.survival.metrics import DAMAGED, SURVIVED
from bitlens.analyses.features.survival.sums import BOTH, Sums
from bitlens.results.records import DetailTable

PLACES = "places"
"""The table of where shown features fire most, from which their contexts are made."""
MOST_SHOWN, TWIN_ONLY = 1024, 64
"""Features of an SAE in one twin that are shown at most, and how many of them may be active in the
twin only."""


def table(
    sums: Sums,
    site: str,
    features: np.ndarray,
    only: np.ndarray,
    alike: Agreement,
    low: np.ndarray,
    high: np.ndarray,
) -> DetailTable:
    """One row a feature of either model."""
    latent = np.concatenate([features, only])
    fired = {who: sums.value(f"fired_{who}")[latent] for who in BOTH}
    both = sums.value("both")[latent]
    r, n = alike.r[0], sums.count[0, 0]
    state = np.select([r > SURVIVED, r >= DAMAGED], ["survived", "degraded"], "damaged")
    sure = np.select([low > SURVIVED, high <= SURVIVED], ["survived", "lost"], "undecided")

    def known(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.full(len(only), np.nan)])

    with np.errstate(divide="ignore", invalid="ignore"):
        columns = {
            "sae": [sums.label] * len(latent),
            "site": [site] * len(latent),
            "latent": latent,
            "state": np.concatenate([state, np.full(len(only), "twin only")]),
            "sure": np.concatenate([sure, np.full(len(only), "undecided")]),
            "r": known(r),
            "r_low": known(low),
            "r_high": known(high),
            "gain": known(alike.gain[0]),
            "offset": known(alike.offset[0]),
            "concordance": known(alike.concordance[0]),
            "rate_reference": fired["reference"] / n,
            "rate_twin": fired["twin"] / n,
            "lost": 1 - both / fired["reference"],
            "new": 1 - both / fired["twin"],
            "f1": 2 * both / (fired["reference"] + fired["twin"]),
            "peak_reference": sums.top("reference")[0][latent, 0],
            "peak_twin": sums.top("twin")[0][latent, 0],
            "mean_reference": sums.value("sum_reference")[latent] / n,
        }
    return DetailTable("features", columns)


def places(
    sums: Sums, site: str, features: np.ndarray, only: np.ndarray, r: np.ndarray
) -> DetailTable:
    """Where the features that the report shows fire most, in either model."""
    latent = shown(features, only, r, sums.rates["twin"])
    parts: dict[str, list[np.ndarray]] = {"latent": [], "found": [], "position": []}
    for who in BOTH:
        values, tops = sums.top(who)
        known = np.isfinite(values[latent])
        parts["position"].append(tops["position"][latent][known])
        parts["latent"].append(np.repeat(latent, known.sum(axis=1)))
        parts["found"].append(np.full(known.sum(), who))
    columns = {name: np.concatenate(of) for name, of in parts.items()}
    length = len(columns["latent"])
    told = {"sae": np.full(length, sums.label), "site": np.full(length, site)}
    return DetailTable(PLACES, {**told, **columns})


def shown(features: np.ndarray, only: np.ndarray, r: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Which features are shown on their texts? All, where there are not too many: else the most
    damaged, and those that fire most in the twin only."""
    new = only[np.argsort(-rate[only], kind="stable")][:TWIN_ONLY]
    order = features[np.argsort(r, kind="stable")][: MOST_SHOWN - len(new)]
    return np.concatenate([order, new])
