"""Findings on whether an error of its size had to do the damage: a twin beside weight noise."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.registration import Finding, finding
from bitlens.report.status import status
from bitlens.report.text.differences import way
from bitlens.report.text.losses import sound, survivals
from bitlens.report.text.numbers import amount
from bitlens.results.records import TEXT

TRIVIAL = 0.1
"""A difference below this share of the damage by noise is none worth saying."""


@finding
def beside_noise(results: AuditResults, model: str) -> Iterator[Finding]:
    """Of every twin that is not intact: more damage than noise does, less, or as much."""
    for twin in results.measured(model):
        name, noise = twin.compression, results.noise(model, twin.compression)
        if noise is None or status(results, model, twin).word in ("intact", "undecided"):
            continue
        more: list[tuple[str, str]] = []
        less: list[tuple[str, str]] = []
        same: list[tuple[str, str]] = []
        for said, row in _numbers(results, model, name):
            full = f"{row['analysis']}.{row['metric']}"
            contrast = results.contrast(row, noise)
            other = results.find(model, noise, full, row["site"], row["item"])
            if contrast is None or other is None:
                continue
            metric = results.metrics[full]
            text = f"{said} {amount(row, metric.unit)}, under noise {amount(other, metric.unit)}"
            sure = way(contrast)
            if not sure or _trivial(contrast["difference"], other, metric.intact or 0.0):
                same.append((said, text))
            else:
                worse = sure == ("more" if metric.worse == "higher" else "less")
                (more if worse else less).append((said, text))
        if more or less or same:
            yield _finding(name, more, less, same)


def _trivial(difference: float, noise: Row, intact: float) -> bool:
    """Is a difference too small a part of the damage that the noise does?"""
    trivial: bool = abs(difference) < TRIVIAL * abs(noise["value"] - intact)
    return trivial


def _finding(
    name: str,
    more: list[tuple[str, str]],
    less: list[tuple[str, str]],
    same: list[tuple[str, str]],
) -> Finding:
    if more and less:
        title = (
            f"Beside noise of its size {name} does more damage to {_listed(more)}, "
            f"less to {_listed(less)}"
        )
    elif more:
        title = f"{name} does more damage than noise of its size: to {_listed(more)}"
    elif less:
        title = f"{name} does less damage than noise of its size: to {_listed(less)}"
    else:
        title = f"{name} does about as much damage as noise of its size"
    told = "; ".join(text for _, text in (*more, *less, *same))
    return Finding(
        title=title,
        text=f"{told[:1].upper()}{told[1:]}.",
        anchor="quality",
        weight=0.5 if more else 0.35,
        twins=(name,),
        uses=frozenset({TEXT}),
    )


def _listed(found: list[tuple[str, str]]) -> str:
    return " and ".join(said for said, _ in found)


def _numbers(results: AuditResults, model: str, name: str) -> Iterator[tuple[str, Row]]:
    """The number that stands for the outputs, for the features (of the worst SAE) and for heads."""
    if row := results.find(model, name, "behaviour.kl"):
        yield "the outputs (mean KL)", row
    if found := sound(results, model, survivals(results, model, name)):
        sae, row = min(found, key=lambda pair: pair[1]["value"])
        yield f"the features {sae.where} (share that survives)", row
    if row := results.find(model, name, "heads.induction_score_kept", site="pattern"):
        yield "the induction heads (score kept)", row
