"""What a page says first: every finding, ranked, and which of them stand on the first screen."""

from dataclasses import dataclass

from bitlens.report import registration
from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.registration import Finding
from bitlens.report.text.compute_floor import within
from bitlens.report.text.differences import tested, way
from bitlens.report.text.doubts import Claim, claim, doubts, rests

PROMOTED = 0.3
"""What weighs less is not said on the first screen: noise of the same size does as much."""
FIRST = 6
"""So many findings stand on the first screen."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A number of a twin beside that of noise of the same size."""

    is_more: bool
    """Surely more damage than the noise does, or no noise was run."""
    told: str
    """What the noise does, as the end of a sentence."""


def beyond_noise(results: AuditResults, model: str, name: str, row: Row) -> Beside:
    """Does a twin surely do more damage to a number than noise of its size, and than a cast to 16
    bits? By the stored contrasts."""
    full = f"{row['analysis']}.{row['metric']}"
    metric, noise = results.metrics[full], results.noise(model, name)
    worse = "more" if metric.worse == "higher" else "less"
    by_cast = results.contrast(row, results.cast(model))
    if by_cast is not None and way(by_cast) != worse:
        sure = tested(by_cast, metric.unit)
        return Beside(is_more=False, told=f"; a cast to 16 bits does as much{sure}")
    contrast = results.contrast(row, noise) if noise else None
    if contrast is None:
        return Beside(is_more=True, told=" (no noise of the same size was run)")
    sure = tested(contrast, metric.unit)
    if way(contrast) == worse:
        return Beside(is_more=True, told=f", more damage than noise of its size does{sure}")
    return Beside(is_more=False, told=f"; noise of its size does as much{sure}")


def beyond_rounding(results: AuditResults, model: str, name: str, metric: str) -> bool:
    """Is a number more than what the twin's dtype does by itself?"""
    return not within(results, model, name, metric)


def findings(results: AuditResults, model: str) -> list[Finding]:
    """Every finding of a model, the weightiest first; of equal weight as registered. What rests
    on a check that failed is left out."""
    failed = [doubt for doubt in doubts(results, model) if doubt.check.passed is False]
    found = [one for write in registration.finding_writers() for one in write(results, model)]
    sure = [
        one
        for one in found
        if not any(rests(results, model, _as_claim(one), doubt) for doubt in failed)
    ]
    return sorted(sure, key=lambda one: -one.weight)


def _as_claim(one: Finding) -> Claim:
    return claim(one.title, *one.uses, twins=one.twins)


def first(found: list[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Those of the first screen, and the others."""
    shown = [one for one in found if one.weight >= PROMOTED][:FIRST]
    return shown, [one for one in found if one not in shown]
