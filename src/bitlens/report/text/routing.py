"""The sentence on tokens that a mixture of experts sends elsewhere, and what that does."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.experts import damaged_expert, damaged_router, named
from bitlens.report.registration import sentence
from bitlens.report.text.doubts import Claim, claim
from bitlens.report.text.numbers import amount, figure
from bitlens.results.records import TEXT


@sentence(order=105)
def rerouted(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """How many choices of experts are others than the reference's, and how much of the damage that
    is."""
    row = results.find(model, name, "routing.agreement", "router", "cumulative")
    if row is None:
        return
    noise = results.noise(model, name)
    other = (
        results.find(model, noise, "routing.agreement", "router", "cumulative") if noise else None
    )
    beside = f", under noise {figure(other['value'], 'share')}" if other else ""
    repaired = results.find(model, name, "routing.repaired", "logits", "cumulative")
    told = (
        f"; sending them where the reference does takes away {amount(repaired, 'share')} of the "
        "divergence"
        if repaired
        else ""
    )
    yield claim(
        f"tokens are sent to {amount(row, 'share')} of the experts that the reference chooses"
        f"{beside}{told}",
        TEXT,
        twins=(noise,),
    )
    router = damaged_router(results, model, name)
    if router:
        yield claim(f"the router of block {router[0]} itself is damaged", TEXT)
    expert = damaged_expert(results, model, name)
    if expert:
        yield claim(
            f"expert {named(expert[0])} is lost: what it adds is off by "
            f"{amount(expert[1], 'share')}",
            TEXT,
        )
