"""Sentences on what one look at a twin hides and another shows, each with the bound it was held to.

Bounds are stated with the finding; what is undecided is not said.
"""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.registration import sentence
from bitlens.report.saes import SaeResults
from bitlens.report.text.compute_floor import drowned, within
from bitlens.report.text.differences import above, below, way
from bitlens.report.text.doubts import Claim, claim
from bitlens.report.text.losses import INDUCTION, sound, survivals
from bitlens.report.text.numbers import amount, figure, plain, points
from bitlens.results.records import REFERENCE, TEXT

OUTPUTS = 0.01
"""A perplexity ratio this near to 1 is held to be no change of the outputs; and a mean KL of so
many nats, which is as much of a loss, is held to be one."""
FEATURES = 0.95
"""The share of the features that must survive for them to be held kept."""
COPIES = 1.1
"""A loss on the second copy that is more times the reference's is held to be a loss of copying."""
COSINE, CKA = 0.98, 0.9
"""A cosine above the one looks like no change; a CKA below the other is one."""


@sentence(order=70)
def hidden(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """Features lost behind outputs that did not move, or kept behind outputs that did;
    nothing where the two agree or where either is not known."""
    found = sound(results, model, survivals(results, model, name))
    if not found:
        return
    sae, worst = min(found, key=lambda pair: pair[1]["value"])
    lost = below(worst, FEATURES)
    kept = all(above(row, FEATURES) for _, row in found)
    share = f"{amount(worst, 'share')} of the features {sae.where} survive"
    if lost and (same := _unmoved(results, model, name)):
        text = f"hidden damage: {same}, yet {share}, fewer than {_percent(FEATURES)}"
        yield claim(text, TEXT, sae.label, twins=(results.cast(model),))
    ratio = results.find(model, name, "behaviour.perplexity_ratio")
    if kept and ratio and _outside(ratio):
        moved = f"perplexity moves by more than {_percent(OUTPUTS)}"
        text = f"features outlast the outputs: {moved}, yet {share}, more than {_percent(FEATURES)}"
        yield claim(text, TEXT, *(sae.label for sae, _ in found))


@sentence(order=30)
def copying(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """A second copy that is harder than for the reference, whatever the heads that look the first
    one up attend to."""
    row = results.find(model, name, "heads.second_copy_ratio")
    gain = results.find(model, name, "heads.copying", item="reference")
    if not above(row, COPIES) or not above(gain, 0.0) or row is None:
        return
    before, after = (
        results.find(model, name, "heads.second_copy", item=who) for who in ("reference", "twin")
    )
    from_to = f", {figure(before['value'])} to {amount(after, 'nats')}" if before and after else ""
    yield claim(
        f"copying suffers: of random tokens that repeat, the loss on the second copy is "
        f"{amount(row)} times the reference's{from_to}{_best_head(results, model, name)}"
    )


def _best_head(results: AuditResults, model: str, name: str) -> str:
    """What became of the attention of the reference's best induction head."""
    rows = [r for r in results.table(model, name, "heads", "heads") if r["kind"] == "induction"]
    if not rows:
        return ""
    best = max(rows, key=lambda row: row["reference"])
    if best["reference"] <= INDUCTION:
        return ""
    place, head = f"pattern.{best['block']}", f"head {best['head']}"
    change = results.find(model, name, "heads.induction_change", site=place, item=head)
    if change is None:
        return ""
    scores = (
        f"head {best['block']}.{best['head']}, attends {{}} to the first copy "
        f"({plain(best['reference'], 2)} to {plain(best['twin'], 2)}, {points(change)})"
    )
    sure = way(results.contrast(change, REFERENCE))
    if sure == "less":
        return f"; the best induction head, {scores.format('less')}"
    if sure == "more":
        return f", although the best induction head, {scores.format('more')}"
    return f", although it is not sure that the best induction head, {scores.format('less')}"


@sentence(order=60)
def no_improvement(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """A perplexity below the reference's while the predictions are others."""
    ratio = results.find(model, name, "behaviour.perplexity_ratio")
    kl = results.find(model, name, "behaviour.kl")
    if ratio is None or ratio["value"] >= 1 or kl is None or not above(kl, OUTPUTS):
        return
    if within(results, model, name, "behaviour.kl"):
        return
    yield claim(
        f"perplexity ×{figure(ratio['value'])} is no improvement: the predictions are not the "
        f"reference's, mean KL {amount(kl, 'nats')}, more than {OUTPUTS:g}",
        TEXT,
    )


@sentence(order=80)
def behind_cosine(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """Activations that point where they did while positions no longer relate as they did, or
    features are gone. Of several places, where most is."""
    found = []
    saes = survivals(results, model, name)
    for block, cosine in results.depth(
        model, name, "geometry.cosine", kind="resid", item="cumulative"
    ):
        if not above(cosine, COSINE):
            continue
        site = f"resid.{block}"
        cka = results.find(model, name, "geometry.cka", site=site, item="cumulative")
        here = sound(results, model, [pair for pair in saes if pair[0].site == site])
        lost = [pair for pair in here if below(pair[1], FEATURES)]
        if below(cka, CKA) or any(below(row, 0.5) for _, row in lost):
            found.append((site, cosine, cka, lost))
    if not found:
        return
    site, cosine, cka, lost = min(
        found, key=lambda at: min(row["value"] for row in (at[2], *(r for _, r in at[3])) if row)
    )
    yield claim(
        f"the cosine hides it: at {site} activations keep one of {amount(cosine)} with the "
        f"reference's, yet {' and '.join(_seen(cka, lost))}",
        TEXT,
        *(sae.label for sae, _ in lost),
    )


def _seen(cka: Row | None, lost: list[tuple[SaeResults, Row]]) -> list[str]:
    said = [f"debiased CKA is {amount(cka)}"] if cka else []
    return said + [
        f"{amount(row, 'share')} of the features {sae.where} survive" for sae, row in lost
    ]


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _unmoved(results: AuditResults, model: str, name: str) -> str:
    """How it is known that the outputs did not move; empty where it is not."""
    ratio = results.find(model, name, "behaviour.perplexity_ratio")
    if above(ratio, 1 - OUTPUTS) and below(ratio, 1 + OUTPUTS):
        return f"perplexity stays within {_percent(OUTPUTS)} of the reference's"
    cast = results.cast(model)
    kl = results.find(model, name, "behaviour.kl")
    contrast = results.contrast(kl, cast) if kl else None
    if way(contrast) == "less" and not drowned(results, model, name, contrast):
        return f"mean KL is less than that of {cast}"
    return ""


def _outside(ratio: Row) -> bool:
    return above(ratio, 1 + OUTPUTS) or below(ratio, 1 - OUTPUTS)
