"""The section on the outputs: damage to them against bits per weight."""

from collections.abc import Iterator
from dataclasses import replace

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.charts import beside
from bitlens.report.charts.frontier import KEY, against_bits, bits_of
from bitlens.report.charts.palette import Mark
from bitlens.report.page.parts import Figure, Panel, Part, Prose, Statement, Strip
from bitlens.report.registration import Framed, Marks, family, section
from bitlens.report.sections.tails import tails
from bitlens.report.text.extremes import most_and_least

METRICS = ("behaviour.kl", "behaviour.perplexity_ratio", "behaviour.same_top")


@section("quality", "Quality against bits", after="compressed", analysis="behaviour")
def outputs(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """What the outputs lost: on average against bits, and by percentile of positions."""
    parts = (*quality(results, model, marks), *tails(results, model, marks))
    return (*_found(results, model), *parts)


def _found(results: AuditResults, model: str) -> tuple[Statement, ...]:
    twins = [twin.compression for twin in results.measured(model)]
    rows = {twin: results.find(model, twin, "behaviour.same_top") for twin in twins}
    known = {twin: row for twin, row in rows.items() if row}
    found = most_and_least(known, "the reference's predictions")
    return tuple(replace(one, numbers=f"Same top token: {one.numbers}") for one in found)


def quality(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """KL, perplexity ratio and same-top rate of one model against bits per weight."""
    bits = bits_of(results, model)
    charts = [
        chart
        for name in METRICS
        if (chart := against_bits(results, model, name, bits=bits, marks=marks))
    ]
    if not charts:
        return (Prose("The outputs were not measured: the analysis `behaviour` was not run."),)
    missing = "; ".join(remark for _, remarks in charts for remark in remarks)
    return (
        Figure(
            name=f"{results.prefix(model)}quality",
            title="What the outputs lost, against bits per weight",
            key=KEY,
            strips=(Strip("", tuple(panel for panel, _ in charts)),),
            caption=(
                "Far left and close to the intact value is best. A compression with more damage "
                "than its own noise loses more than an error of that size has to; one with less "
                "puts its error where it hurts less; whether they differ is tested on the same "
                "documents, whatever the two intervals, and stands in the verdict as q. Bits count "
                "scales and zeros." + (f" Not drawn: {missing}." if missing else "")
            ),
            legend=tuple((marks[name], name) for name in bits),
            controls=beside(results, model),
        ),
    )


def overview(results: AuditResults, marks: Marks) -> tuple[Part, ...]:
    """KL against bits with a chart a model; nothing where there is one model only."""
    if len(results.models) < 2:
        return ()
    panels: list[Panel] = []
    shown: dict[str, tuple[Mark, str]] = {}
    for model in results.models:
        bits = bits_of(results, model)
        if chart := against_bits(results, model, METRICS[0], bits=bits, marks=marks):
            panels.append(replace(chart[0], title=model))
            shown |= {name: (marks[name], name) for name in bits}
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


@family("Outputs", section="quality", order=10)
def same_top(results: AuditResults, model: str, who: str) -> Iterator[Framed]:
    """How often the same token is first."""
    if row := results.find(model, who, "behaviour.same_top"):
        yield Framed(row=row, intact=1.0, chance=row["chance"] or 0.0)
