"""The sentence on SAEs that recover less of the loss in a twin than in the reference."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.registration import sentence
from bitlens.report.saes import SaeResults, by_depth
from bitlens.report.text.differences import tested, way
from bitlens.report.text.doubts import Claim, claim
from bitlens.report.text.numbers import figure, points
from bitlens.results.records import REFERENCE, TEXT


def spliced(results: AuditResults, model: str) -> list[SaeResults]:
    """The SAEs that were spliced into a model, by depth."""
    measured = {
        row["item"]
        for row in results.estimates
        if (row["model"], row["analysis"], row["metric"])
        == (model, "transfer", "recovered_difference")
    }
    known = (SaeResults(sae["label"], sae["site"]) for sae in results.about(model)["saes"])
    found = [sae for sae in known if sae.label in measured]
    return by_depth(found)


@sentence(order=100)
def costlier(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """Where an SAE surely recovers less of the loss in the twin than in the reference. Of several,
    where most is lost."""
    found = [
        (row, sae)
        for sae in spliced(results, model)
        if (row := sae.find(results, model, name, "transfer.recovered_difference"))
        and way(results.contrast(row, REFERENCE)) == "more"
    ]
    if not found:
        return
    row, sae = max(found, key=lambda pair: pair[0]["value"])
    twin, reference = (
        sae.find(results, model, name, "transfer.loss_recovered", of=of)
        for of in ("twin", "reference")
    )
    if twin is None or reference is None:
        return
    noise = results.noise(model, name)
    other = sae.find(results, model, noise, "transfer.recovered_difference") if noise else None
    beside = f", under noise {points(other)}" if other else ""
    contrast = tested(results.contrast(row, noise), "share")
    yield claim(
        f"the SAE {sae.where} in its place recovers less of the loss: "
        f"{figure(twin['value'], 'share')}, in the reference "
        f"{figure(reference['value'], 'share')} (difference {points(row)}){beside}{contrast}",
        TEXT,
        sae.label,
        twins=(noise,),
    )
