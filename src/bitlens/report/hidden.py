"""Does one look at a twin hide what another shows? Outputs beside features, each with a bound.

Bounds are stated with the finding, and hold for whole intervals: what is undecided is not said.
"""

from bitlens.report.evidence import Evidence, Row
from bitlens.report.losses import survivals
from bitlens.report.wording import amount

OUTPUTS = 0.01
"""A perplexity ratio this near to 1 is held to be no change of the outputs."""
FEATURES = 0.95
"""Of the features, the share that must survive for them to be held kept."""


def hidden(evidence: Evidence, model: str, name: str) -> str:
    """Features lost behind outputs that did not move, or kept behind outputs that did; empty
    where the two agree or where either is not known."""
    found = survivals(evidence, model, name)
    if not found:
        return ""
    sae, worst = min(found, key=lambda pair: pair[1]["value"])
    lost = worst["high"] is not None and worst["high"] < FEATURES
    kept = all(row["low"] is not None and row["low"] > FEATURES for _, row in found)
    share = f"{amount(worst, 'share')} of the features {sae.where} survive"
    if lost and (same := _unmoved(evidence, model, name)):
        return f"hidden damage: {same}, yet {share}, fewer than {_percent(FEATURES)}"
    ratio = evidence.find(model, name, "behaviour.perplexity_ratio")
    if kept and ratio and _outside(ratio):
        moved = f"perplexity moves by more than {_percent(OUTPUTS)}"
        return f"features outlast the outputs: {moved}, yet {share}, more than {_percent(FEATURES)}"
    return ""


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _unmoved(evidence: Evidence, model: str, name: str) -> str:
    """How it is known that the outputs did not move; empty where it is not."""
    ratio = evidence.find(model, name, "behaviour.perplexity_ratio")
    if ratio and None not in (ratio["low"], ratio["high"]):
        if 1 - OUTPUTS < ratio["low"] and ratio["high"] < 1 + OUTPUTS:
            return f"perplexity stays within {_percent(OUTPUTS)} of the reference's"
    cast = evidence.cast(model)
    kl = evidence.find(model, name, "behaviour.kl")
    floor = evidence.find(model, cast, "behaviour.kl") if cast else None
    if kl and floor and None not in (kl["high"], floor["high"]) and kl["high"] <= floor["high"]:
        return f"mean KL is no larger than that of {cast}"
    return ""


def _outside(ratio: Row) -> bool:
    bounds = ratio["low"], ratio["high"]
    return None not in bounds and bool(bounds[0] > 1 + OUTPUTS or bounds[1] < 1 - OUTPUTS)
