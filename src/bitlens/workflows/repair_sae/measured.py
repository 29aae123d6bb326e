"""The worth of a repaired SAE, step by step, on documents it was not made on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bitlens.analyses.features.analysis import Features
from bitlens.analyses.transfer import Transfer
from bitlens.compression.twin import Twin
from bitlens.config.study import Study
from bitlens.engine.comparisons import comparisons
from bitlens.engine.measured import Measured
from bitlens.engine.measurement import Measurement
from bitlens.engine.plan import Plan
from bitlens.errors import failed
from bitlens.results.records import DetailTable, Metric, Value
from bitlens.results.stats.intervals import interval
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.repair.repair import UNREPAIRED, Repaired
from bitlens.workflows.session import Session

RECOVERED = Metric(
    name="recovered",
    question="What share of the lost survival is had back?",
    unit="share",
    worse="lower",
    intact=None,
    level=True,
)

LOSS_CHANGE = Metric(
    name="loss_recovered, change",
    question="How much more of the loss does the repaired SAE recover in the twin?",
    unit="share",
    worse="lower",
    intact=0.0,
)

Numbers = dict[str, dict[str, Any]]
"""By `metric` (and whose it is): fields of an `Estimate`."""


def measured(
    session: Session, twin: Twin, placed: PlacedSae, made: Repaired, *, plan: Plan
) -> list[Measured]:
    """Every step on the evaluation documents, of which `plan` is: the reference read by the SAE as
    it is, the twin by the repaired one. BitlensError where the twin fails."""
    saes = tuple(
        replace(placed, sae=replace(placed.sae, label=step.name), adapted=step.sae)
        for step in made.steps
    )
    analyses = [Features(saes), Transfer(saes)]
    reads = {analysis.name: analysis.reads(session.layout) for analysis in analyses}
    wanted = comparisons(analyses, ["twin"], reads)
    with TemporaryDirectory(prefix="bitlens-") as folder:
        one = Measurement(
            session.layout,
            {"twin": twin},
            wanted,
            plan,
            hidden_bytes=session.memory,
            partial=Path(folder),
            texts=session.texts,
        )
        found = list(one.values())
    for reason in one.sweep.failed.values():
        raise failed("The twin", reason)
    return found


def estimates(found: Sequence[Measured], study: Study) -> dict[str, Numbers]:
    """By step, every estimate of it."""
    values = [(one.comparison.analysis, value) for one in found for value in one.values]
    numbers: dict[str, Numbers] = {}
    survived: dict[str, Value] = {}
    loss: dict[str, Value] = {}
    for analysis, value in values:
        step, _, who = value.item.partition(", ")
        metric = next(m for m in analysis.metrics if m.name == value.metric)
        name = f"{value.metric}, {who}" if who else value.metric
        estimate = asdict(interval(value, metric, study.interval))
        numbers.setdefault(step, {})[f"{analysis.name}.{name}"] = estimate
        if value.metric == "survived":
            survived[step] = value
        elif (value.metric, who) == ("loss_recovered", "twin"):
            loss[step] = value
    for metric, of, change in ((RECOVERED, survived, recovered), (LOSS_CHANGE, loss, difference)):
        for step, value in of.items():
            if step != UNREPAIRED:
                estimate = asdict(interval(change(of[UNREPAIRED], value), metric, study.interval))
                numbers[step][metric.name] = estimate
    return numbers


def recovered(before: Value, after: Value) -> Value:
    """What share of the lost survival is had back, (after - before) / (1 - before), under every
    replicate's weights; below 0 where more is lost."""
    if before.value is None or after.value is None:
        reason = before.reason or after.reason
        return Value(
            metric="recovered", site=after.site, item=after.item, value=None, reason=reason
        )
    lost = [1 - value for value in (before.value, *before.replicates)]
    if min(lost) <= 0:
        reason = "nothing was lost"
        return Value(
            metric="recovered", site=after.site, item=after.item, value=None, reason=reason
        )
    shares = [
        (now - 1 + gone) / gone
        for now, gone in zip((after.value, *after.replicates), lost, strict=True)
    ]
    return Value(
        metric="recovered",
        site=after.site,
        item=after.item,
        value=shares[0],
        replicates=tuple(shares[1:]),
        documents=after.documents,
    )


def difference(before: Value, after: Value) -> Value:
    """after - before, under every replicate's weights."""
    name = LOSS_CHANGE.name
    if before.value is None or after.value is None:
        return Value(
            metric=name,
            site=after.site,
            item=after.item,
            value=None,
            reason=before.reason or after.reason,
        )
    pairs = zip(after.replicates, before.replicates, strict=True)
    return Value(
        metric=name,
        site=after.site,
        item=after.item,
        value=after.value - before.value,
        replicates=tuple(a - b for a, b in pairs),
        documents=after.documents,
    )


def fates(found: Sequence[Measured], made: Repaired) -> dict[str, list[int]]:
    """What became of the features that were lost, and of those that were not? Their latents."""
    shown = [s for one in found for s in one.shown if s.name == "features" and len(s.columns)]
    before, after = (_survivors(shown, name) for name in (UNREPAIRED, made.best.name))
    lost = sorted(latent for latent, survives in before.items() if not survives)
    return {
        "repaired": [latent for latent in lost if after[latent]],
        "not repaired": [latent for latent in lost if not after[latent]],
        "lost by the repair": sorted(n for n, kept in before.items() if kept and not after[n]),
    }


def _survivors(shown: Sequence[DetailTable], step: str) -> dict[int, bool]:
    """Whether each feature of the reference survives, by its latent."""
    (columns,) = (s.columns for s in shown if s.columns["sae"][0] == step)
    rows = zip(columns["latent"], columns["state"], strict=True)
    return {int(latent): state == "survived" for latent, state in rows if state != "twin only"}


def median_readable(made: Repaired, lost: Mapping[str, list[int]]) -> dict[str, float | None]:
    """How well a linear reading of the twin tells what is back and what is not: the median."""
    names = ("repaired", "not repaired")
    found = {name: made.readable[lost[name]] for name in names}
    return {name: float(r.median()) if len(r) else None for name, r in found.items()}
