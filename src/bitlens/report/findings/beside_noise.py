"""Findings on whether an error of its size had to do the damage: a twin beside weight noise."""

from collections.abc import Iterator
from dataclasses import dataclass

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.registration import Finding, finding
from bitlens.report.status import status
from bitlens.report.text.differences import tested, way
from bitlens.report.text.losses import sound, survivals
from bitlens.report.text.numbers import amount
from bitlens.results.records import TEXT

TRIVIAL = 0.1
"""A difference below this share of the damage by noise is none worth saying."""


@dataclass(frozen=True)
class BesideNoise:
    """The numbers of a twin by what the same number does under noise: each what it is of, and the
    two numbers."""

    more: list[tuple[str, str]]
    """Surely more damage than the noise does."""
    less: list[tuple[str, str]]
    same: list[tuple[str, str]]

    @property
    def where(self) -> str:
        """What noise does less damage to: `to the induction heads`; empty where nothing."""
        return f"to {_listed(self.more)}" if self.more else ""

    @property
    def told(self) -> str:
        """`no more damage than noise of its size, less to the induction heads`."""
        if self.more:
            less = f", less to {_listed(self.less)}" if self.less else ""
            return f"more damage than noise of its size {self.where}{less}"
        if self.less and self.same:
            return f"no more damage than noise of its size, less to {_listed(self.less)}"
        if self.less:
            return "less damage than noise of its size"
        return "about as much damage as noise of its size"


def beside(results: AuditResults, model: str, name: str) -> BesideNoise | None:
    """A twin beside weight noise of its size, where there is any to compare. What is damage is
    told by tests on the same documents, document by document."""
    noise = results.noise(model, name)
    found = BesideNoise([], [], [])
    for said, row in _numbers(results, model, name) if noise else ():
        full = f"{row['analysis']}.{row['metric']}"
        contrast = results.contrast(row, noise)
        other = results.find(model, noise or "", full, row["site"], row["item"])
        if contrast is None or other is None:
            continue
        metric = results.metrics[full]
        text = f"{said} {amount(row, metric.unit)}, under noise {amount(other, metric.unit)}"
        sure = way(contrast)
        if not sure or _trivial(contrast["difference"], other, metric.intact or 0.0):
            found.same.append((said, text))
        else:
            worse = sure == ("more" if metric.worse == "higher" else "less")
            text += tested(contrast, metric.unit)
            (found.more if worse else found.less).append((said, text))
    return found if found.more or found.less or found.same else None


@finding
def beside_noise(results: AuditResults, model: str) -> Iterator[Finding]:
    """Of every twin that is not intact: more damage than noise does, less, or as much."""
    for twin in results.measured(model):
        if status(results, model, twin).word in ("intact", "undecided"):
            continue
        if found := beside(results, model, twin.compression):
            yield _finding(twin.compression, found)


def _trivial(difference: float, noise: Row, intact: float) -> bool:
    """Is a difference too small a part of the damage that the noise does?"""
    trivial: bool = abs(difference) < TRIVIAL * abs(noise["value"] - intact)
    return trivial


def _finding(name: str, found: BesideNoise) -> Finding:
    told = "; ".join(text for _, text in (*found.more, *found.less, *found.same))
    return Finding(
        title=f"{name} does {found.told}",
        text=f"{told[:1].upper()}{told[1:]}.",
        anchor="quality",
        weight=0.5 if found.more else 0.35,
        twins=(name,),
        uses=frozenset({TEXT}),
    )


def _listed(found: list[tuple[str, str]]) -> str:
    return " and ".join(said.partition(" (")[0] for said, _ in found)


def _numbers(results: AuditResults, model: str, name: str) -> Iterator[tuple[str, Row]]:
    """The number that stands for the outputs, for the features (of the worst SAE) and for heads."""
    if row := results.find(model, name, "behaviour.kl"):
        yield "the outputs (mean KL)", row
    if found := sound(results, model, survivals(results, model, name)):
        sae, row = min(found, key=lambda pair: pair[1]["value"])
        yield f"the features {sae.where} (share that survives)", row
    if row := results.find(model, name, "heads.induction_score_kept", site="pattern"):
        yield "the induction heads (score kept)", row
