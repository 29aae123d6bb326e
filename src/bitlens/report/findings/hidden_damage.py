"""Findings on damage that the usual look misses: outputs as they were, and less within."""

from collections.abc import Iterator

from bitlens.report.addresses import address
from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.findings.ranking import beyond_noise, beyond_rounding
from bitlens.report.registration import Finding, finding
from bitlens.report.saes import SaeResults
from bitlens.report.text.differences import above, below
from bitlens.report.text.losses import sound, survivals
from bitlens.report.text.numbers import amount, figure
from bitlens.results.records import TEXT

OUTPUTS = 1.02
"""A perplexity ratio surely below this looks like no damage to whoever looks at perplexity."""
FEATURES = 0.95
"""So large a share of the features must survive for them to be held kept."""
KL = 0.01
"""A mean KL of more nats is another distribution, whatever the perplexity."""
SCORES, COPIES = 0.95, 0.98
"""Shares of the induction heads' score, and of what a second copy gains."""


@finding
def features_lost(results: AuditResults, model: str) -> Iterator[Finding]:
    """Perplexity hardly moves, and features are gone."""
    for twin in results.measured(model):
        name = twin.compression
        ratio = results.find(model, name, "behaviour.perplexity_ratio")
        found = sound(results, model, survivals(results, model, name))
        if not found or ratio is None or not below(ratio, OUTPUTS):
            continue
        sae, row = min(found, key=lambda pair: pair[1]["value"])
        if below(row, FEATURES):
            yield _features(results, model, name, sae=sae, row=row, ratio=ratio)


def _features(
    results: AuditResults, model: str, name: str, *, sae: SaeResults, row: Row, ratio: Row
) -> Finding:
    lost = figure(round(1 - row["value"], 2), "share")
    more = beyond_noise(results, model, name, row)
    return Finding(
        title=f"Hidden damage at {name}: perplexity hardly moves, {lost} of the features are lost",
        text=f"Perplexity ×{amount(ratio)}; {amount(row, 'share')} of the features survive "
        f"{sae.where}{more.told}.",
        anchor="features",
        weight=0.9 if more.is_more else 0.2,
        twins=(name,),
        uses=frozenset({TEXT, sae.label}),
        target=address(results, model, layer=sae.block),
    )


@finding
def copying(results: AuditResults, model: str) -> Iterator[Finding]:
    """The heads look where they looked, and copying is worse all the same."""
    for twin in results.measured(model):
        name = twin.compression
        scores = results.find(model, name, "heads.induction_score_kept", site="pattern")
        copies = results.find(model, name, "heads.copying_kept")
        if scores is None or copies is None:
            continue
        if above(scores, SCORES) and below(copies, COPIES):
            more = beyond_noise(results, model, name, copies)
            yield Finding(
                title=f"At {name} copying is worse although the induction heads still attend",
                text=f"The heads keep {amount(scores, 'share')} of their score; a second copy "
                f"gains {amount(copies, 'share')} of what it gained{more.told}.",
                anchor="heads",
                weight=0.7 if more.is_more else 0.2,
                twins=(name,),
            )


@finding
def flattering(results: AuditResults, model: str) -> Iterator[Finding]:
    """Perplexity is lower than the reference's, and the predictions are others."""
    for twin in results.measured(model):
        name = twin.compression
        ratio = results.find(model, name, "behaviour.perplexity_ratio")
        kl = results.find(model, name, "behaviour.kl")
        if ratio is None or kl is None or not below(ratio, 1.0) or not above(kl, KL):
            continue
        if beyond_rounding(results, model, name, "behaviour.kl"):
            yield Finding(
                title=f"{name} has a lower perplexity and is no improvement: it predicts otherwise",
                text=f"Perplexity ×{amount(ratio)}, mean KL {amount(kl, 'nats')}.",
                anchor="quality",
                weight=0.6,
                twins=(name,),
                uses=frozenset({TEXT}),
            )
