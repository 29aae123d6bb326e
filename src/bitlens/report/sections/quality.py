"""The section on quality: what was lost against bits per weight and against size."""

from collections.abc import Iterator
from dataclasses import replace

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.axes import NO_PLACE
from bitlens.report.charts.charts import beside
from bitlens.report.charts.frontier import (
    KEY,
    Footprint,
    Shown,
    against,
    bits_of,
    sizes_of,
)
from bitlens.report.charts.palette import Mark
from bitlens.report.page.parts import Figure, Panel, Part, Prose, Statement, Strip, Tabs
from bitlens.report.registration import Framed, Marks, family, section
from bitlens.report.saes import saes_of
from bitlens.report.sections.tails import tails
from bitlens.report.text.extremes import most_and_least

OUTPUTS = ("behaviour.kl", "behaviour.perplexity_ratio", "behaviour.same_top")


@section("quality", "Quality against bits and size", after="compressed", analysis="behaviour")
def outputs(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """What was lost against bits and against size, and what the outputs lost by percentile of
    positions."""
    found = {"bits per weight": bits_of(results, model), "size": sizes_of(results, model)}
    tabs = tuple(
        (f"against {name}", (drawn,))
        for name, footprint in found.items()
        if footprint and (drawn := quality(results, model, marks, footprint))
    )
    parts: tuple[Part, ...] = (Tabs(tabs),)
    if not tabs:
        parts = (Prose("The outputs were not measured: the analysis `behaviour` was not run."),)
    return (*_found(results, model), *parts, *tails(results, model, marks))


def _found(results: AuditResults, model: str) -> tuple[Statement, ...]:
    twins = [twin.compression for twin in results.measured(model)]
    rows = {twin: results.find(model, twin, "behaviour.same_top") for twin in twins}
    known = {twin: row for twin, row in rows.items() if row}
    found = most_and_least(known, "the reference's predictions")
    return tuple(replace(one, numbers=f"Same top token: {one.numbers}") for one in found)


def quality(results: AuditResults, model: str, marks: Marks, footprint: Footprint) -> Figure | None:
    """Outputs, features and heads of one model against what its twins take up; None where nothing
    was measured."""
    missing: list[str] = []
    strips = []
    for title, numbers in _shown(results, model).items():
        charts = [
            chart
            for shown in numbers
            if (chart := against(results, model, shown, footprint, marks))
        ]
        missing += [remark for _, remarks in charts for remark in remarks]
        if charts:
            strips.append(Strip(title, tuple(panel for panel, _ in charts)))
    if not strips:
        return None
    by = "size" if footprint.title.startswith("size") else "bits"
    return Figure(
        name=f"{results.prefix(model)}quality{'-size' if by == 'size' else ''}",
        title=f"What was lost, against {'size' if by == 'size' else 'bits per weight'}",
        key=KEY,
        strips=tuple(strips),
        caption=(
            "Far left and close to the intact value is best. A compression with more damage "
            "than its own noise loses more than an error of that size has to; one with less "
            "puts its error where it hurts less; whether they differ is tested on the same "
            "documents, whatever the two intervals, and stands in the verdict as q. "
            + ("Bits count scales and zeros." if by == "bits" else "Size is that of the file.")
            + _not_drawn(missing)
        ),
        legend=tuple((marks[name], name) for name in footprint.of),
        controls=beside(results, model),
    )


def _not_drawn(missing: list[str]) -> str:
    """Which reference lines are missing; of logarithmic axes only that some are."""
    placeless = any(remark.endswith(NO_PLACE) for remark in missing)
    others = [remark for remark in missing if not remark.endswith(NO_PLACE)]
    told = (
        " Lines of perfect values are left out where a log scale has no place for them."
        if placeless
        else ""
    )
    return f"{told} Not drawn: {'; '.join(others)}." if others else told


def _shown(results: AuditResults, model: str) -> dict[str, list[Shown]]:
    """What is drawn, by the title of its row: the outputs, then what is inside."""
    outputs = [Shown(metric=name) for name in OUTPUTS if name in results.metrics]
    inside = [
        Shown(
            metric="features.survived",
            site=sae.site,
            item=sae.label,
            title=f"features that survive, {sae.where}",
        )
        for sae in saes_of(results, model)
        if "features.survived" in results.metrics
    ]
    kept = "heads.induction_score_kept"
    if kept in results.metrics:
        inside.append(Shown(metric=kept, site="pattern", title="induction score kept"))
    return {"What it predicts": outputs, "What it keeps inside": inside}


def overview(results: AuditResults, marks: Marks) -> tuple[Part, ...]:
    """KL against bits with a chart a model; nothing where there is one model only."""
    if len(results.models) < 2:
        return ()
    panels: list[Panel] = []
    shown: dict[str, tuple[Mark, str]] = {}
    for model in results.models:
        bits = bits_of(results, model)
        if bits and (chart := against(results, model, Shown(metric=OUTPUTS[0]), bits, marks)):
            panels.append(replace(chart[0], title=model))
            shown |= {name: (marks[name], name) for name in bits.of}
    if not panels:
        return ()
    return (
        Figure(
            name="overview",
            title="KL divergence against bits per weight, model by model",
            key=KEY,
            strips=(Strip("", tuple(panels)),),
            caption="Each chart has its own axis.",
            legend=tuple(shown.values()),
            across=2 if len(panels) in (2, 4) else 3,
        ),
    )


@family(
    "Outputs",
    section="quality",
    order=10,
    told="positions where both models put the same token first",
)
def same_top(results: AuditResults, model: str, who: str) -> Iterator[Framed]:
    """How often the same token is first."""
    if row := results.find(model, who, "behaviour.same_top"):
        yield Framed(row=row, intact=1.0, chance=row["chance"] or 0.0)
