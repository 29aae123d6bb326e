"""Sentences that hold a twin against its controls: noise of its size, and the cast to 16 bits."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.registration import sentence
from bitlens.report.text.compute_floor import drowned, within
from bitlens.report.text.differences import tested, way
from bitlens.report.text.doubts import Claim, claim
from bitlens.report.text.losses import induction, sound, survivals
from bitlens.report.text.numbers import amount, points, times
from bitlens.results.records import TEXT


@sentence(order=110)
def beside(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """KL, features and induction heads beside noise of the same size, and KL beside the cast."""
    noise = results.noise(model, name)
    if outputs := " and ".join(_outputs(results, model, name)):
        yield claim(outputs, TEXT, twins=(noise, results.cast(model)))
    yield from _features(results, model, name, noise)
    yield from _heads(results, model, name, noise)


@sentence(order=120)
def disagreement(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """KL and perplexity beside noise, where one is surely higher and the other surely lower."""
    noise = results.noise(model, name)
    metrics = ("behaviour.kl", "behaviour.perplexity_ratio")
    rows = [results.find(model, name, metric) for metric in metrics]
    contrasts = [results.contrast(row, noise) if row and noise else None for row in rows]
    ways = [
        "" if drowned(results, model, name, contrast) else way(contrast) for contrast in contrasts
    ]
    if not all(ways) or ways[0] == ways[1] or within(results, model, name, "behaviour.kl"):
        return
    yield claim(
        f"KL and perplexity disagree: beside noise KL says {ways[0]} damage, the perplexity "
        f"ratio {ways[1]}{tested(contrasts[1], '')}",
        TEXT,
        twins=(noise,),
    )


def _outputs(results: AuditResults, model: str, name: str) -> Iterator[str]:
    kl = results.find(model, name, "behaviour.kl")
    if kl is None or within(results, model, name, "behaviour.kl"):
        return
    start = "KL is "
    noise = "weight noise of the same size"
    if any(twin.rounded_inputs for twin in results.twins(model) if twin.compression == name):
        noise += ", which leaves the inputs as they are"
    for control, said in (
        (results.noise(model, name), noise),
        (results.cast(model), results.cast(model)),
    ):
        other = results.find(model, control, "behaviour.kl") if control else None
        if other is None or other["value"] <= 0:
            continue
        contrast = results.contrast(kl, control)
        if drowned(results, model, name, contrast):
            yield f"{start}no farther from that of {said} than the dtype by itself may put it"
        else:
            factor = times(kl["value"] / other["value"])
            yield f"{start}{factor} that of {said}{tested(contrast, 'nats')}"
        start = ""


def _features(results: AuditResults, model: str, name: str, noise: str | None) -> Iterator[Claim]:
    """What noise keeps of the features of the SAE that lost most."""
    every = survivals(results, model, name)
    found = sound(results, model, every)
    if not found or noise is None:
        return
    sae, row = min(found, key=lambda pair: pair[1]["value"])
    other = sae.find(results, model, noise, "features.survived")
    if other is not None:
        where = f" {sae.where}" if len(every) > 1 else ""
        contrast = tested(results.contrast(row, noise), "share")
        text = f"the noise keeps {amount(other, 'share')} of the features{where}{contrast}"
        yield claim(text, TEXT, sae.label, twins=(noise,))


def _heads(results: AuditResults, model: str, name: str, noise: str | None) -> Iterator[Claim]:
    """How many the noise keeps, and how their scores change there."""
    mine = induction(results, model, name)
    other = induction(results, model, noise) if noise else None
    if mine is None or other is None or noise is None:
        return
    metric = ("heads.induction_mean_change", "pattern")
    row, theirs = (results.find(model, who, *metric) for who in (name, noise))
    if row is not None and theirs is not None:
        contrast = tested(results.contrast(row, noise), "share")
        text = (
            f"the noise keeps {other.counted} and changes their scores by {points(theirs)} on "
            f"average{contrast}"
        )
        yield claim(text, twins=(noise,))
    elif mine != other:
        yield claim(f"the noise keeps {other.counted}", twins=(noise,))
