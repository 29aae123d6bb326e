"""Does a twin lose more than an error of its size has to? Noise, the cast, and the tests."""

from collections.abc import Iterator

from bitlens.report.evidence import Evidence, Row
from bitlens.report.losses import induction, survivals
from bitlens.report.wording import amount, probability, times


def beside(evidence: Evidence, model: str, name: str) -> str:
    """KL, features and induction heads beside noise of the same size, and KL beside the cast."""
    clauses = [
        " and ".join(_outputs(evidence, model, name)),
        *_features(evidence, model, name),
        *_heads(evidence, model, name),
    ]
    return "; ".join(clause for clause in clauses if clause)


def disagreement(evidence: Evidence, model: str, name: str) -> str:
    """KL and perplexity beside noise, where one is surely higher and the other surely lower."""
    noise = evidence.noise(model, name)
    rows = [
        evidence.find(model, name, f"behaviour.{metric}") for metric in ("kl", "perplexity_ratio")
    ]
    kl, ratio = (evidence.contrast(row, noise) if row and noise else None for row in rows)
    ways = (_way(kl), _way(ratio))
    if not all(ways) or ways[0] == ways[1]:
        return ""
    return (
        f"KL and perplexity disagree: beside noise KL says {ways[0]} damage, the perplexity "
        f"ratio {ways[1]}{_test(ratio, '')}"
    )


def _way(contrast: Row | None) -> str:
    """`more` or `less`; empty where the interval of the difference holds 0."""
    if contrast is None or contrast["low"] is None or contrast["high"] is None:
        return ""
    return "more" if contrast["low"] > 0 else "less" if contrast["high"] < 0 else ""


def _outputs(evidence: Evidence, model: str, name: str) -> Iterator[str]:
    kl = evidence.find(model, name, "behaviour.kl")
    if kl is None:
        return
    start = "KL is "
    noise = "weight noise of the same size"
    if any(twin.rounded_inputs for twin in evidence.twins(model) if twin.compression == name):
        noise += ", which leaves the inputs as they are"
    for control, said in (
        (evidence.noise(model, name), noise),
        (evidence.cast(model), evidence.cast(model)),
    ):
        other = evidence.find(model, control, "behaviour.kl") if control else None
        if other is not None and other["value"] > 0:
            factor = times(kl["value"] / other["value"])
            yield f"{start}{factor} that of {said}{_test(evidence.contrast(kl, control), 'nats')}"
            start = ""


def _features(evidence: Evidence, model: str, name: str) -> Iterator[str]:
    """Of the SAE that lost most: what noise keeps there."""
    noise = evidence.noise(model, name)
    found = survivals(evidence, model, name)
    if not found or noise is None:
        return
    sae, row = min(found, key=lambda pair: pair[1]["value"])
    other = sae.find(evidence, model, noise, "survived")
    if other is not None:
        where = f" {sae.where}" if len(found) > 1 else ""
        contrast = _test(evidence.contrast(row, noise), "share")
        yield f"the noise keeps {amount(other, 'share')} of the features{where}{contrast}"


def _heads(evidence: Evidence, model: str, name: str) -> Iterator[str]:
    noise = evidence.noise(model, name)
    mine = induction(evidence, model, name)
    other = induction(evidence, model, noise) if noise else None
    if mine is not None and other is not None and mine != other:
        yield f"of the induction heads the noise keeps {other.kept}"


def _test(contrast: Row | None, unit: str) -> str:
    """The difference with its interval, and how sure it is; q where many were tested at once."""
    if contrast is None or contrast["difference"] == 0:
        return ""
    if contrast["p"] is None:
        return f" (not tested: {contrast['reason']})"
    scale, unit = (100, "points") if unit == "share" else (1, unit)
    row = {
        end: None if contrast[field] is None else scale * contrast[field]
        for end, field in (("value", "difference"), ("low", "low"), ("high", "high"))
    }
    sure = (
        f"p = {probability(contrast['p'])}"
        if contrast["q"] is None
        else f"q = {probability(contrast['q'])}"
    )
    return f" (difference {amount(row, unit)}, {sure})"
