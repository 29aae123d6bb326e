"""The section on layers: damage block by block, what accumulates and what each block adds."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.axes import words
from bitlens.report.charts.depth import Course, along
from bitlens.report.page.parts import Details, Part, Prose, Statement, Tabs
from bitlens.report.registration import Framed, Marks, family, section
from bitlens.report.text.extremes import each
from bitlens.report.text.places import worst_part
from bitlens.results.records import Metric

KINDS = {
    "resid": "Residual stream after the block (resid)",
    "attn": "What attention adds (attn)",
    "mlp": "What the MLP adds (mlp)",
}
CHARTS = {"cumulative": "cumulative: the twin as it runs", "local": "local: one block by itself"}
FIRST = ("relative_error", "cosine", "cka", "sqnr")
"""The metrics a newcomer should see first; the others follow in a fold."""


@section("layers", "Layer by layer", after="documents", analysis="geometry")
def layers(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """One model's layer curves: a tab a metric, all twins in every chart."""
    metrics = {
        n.removeprefix("geometry."): m
        for n, m in results.metrics.items()
        if n.startswith("geometry.")
    }
    found = {
        name: along(results, model, _course(metric), marks) for name, metric in metrics.items()
    }
    tabs = {name: (drawn,) for name, drawn in found.items() if drawn is not None}
    if not tabs:
        return (Prose("Nothing was measured inside: the analysis `geometry` was not run."),)
    first = tuple((words(name), tabs[name]) for name in FIRST if name in tabs)
    others = tuple((words(name), tabs[name]) for name in tabs if name not in FIRST)
    parts: list[Part] = [
        *_found(results, model),
        Prose(
            "Cumulative: the compressed model runs on its own, and its vectors are compared with "
            "the reference's at the same place, so errors of earlier blocks are included. Local: "
            "each compressed block is given the reference's own input, so only its own error "
            "shows. A block whose local error stands out is where to spend bits."
        ),
    ]
    if first:
        parts.append(Tabs(first))
    if others:
        parts.append(Details("More measures of the same vectors", (Tabs(others),)))
    return tuple(parts)


def _found(results: AuditResults, model: str) -> tuple[Statement, ...]:
    """Where the largest error that a part of a block makes by itself is."""
    worst = {
        twin.compression: place
        for twin in results.measured(model)
        if (place := worst_part(results, model, twin.compression))
    }
    if not worst:
        return ()
    row, where = max(worst.values(), key=lambda place: place[0]["value"])
    same = {place for _, place in worst.values()} == {where}
    twin = next(name for name, place in worst.items() if place[0] is row)
    whose = twin if len(worst) == 1 or not same else "every twin"
    unit = results.metrics["geometry.relative_error"].unit
    rows = {name: found for name, (found, _) in worst.items()}
    order = {name: rows[name] for name in sorted(rows, key=lambda name: rows[name]["value"])}
    return (
        Statement(
            f"{where[0].upper()}{where[1:]} makes the largest error in {whose}",
            f"Largest error of a part of a block, of its output: {each(order, unit)}.",
        ),
    )


def _course(metric: Metric) -> Course:
    way = {"higher": " Higher is worse.", "lower": " Lower is worse.", None: ""}[metric.worse]
    return Course(
        metric=f"geometry.{metric.name}",
        kinds=KINDS,
        charts=CHARTS,
        name=f"layers-{metric.name}",
        title=f"{words(metric.name)} by block",
        key=(
            f"{metric.question}{way} A line a twin; bars: 95 % intervals. Pale and wide, in a "
            "twin's colour: weight noise of the same size. Dotted: the cast to 16 bits."
        ),
    )


@family("Geometry", section="layers", order=20, told="cosine of the activations of both models")
def direction(results: AuditResults, model: str, who: str) -> Iterator[Framed]:
    """Cosine of the residual stream after each block."""
    found = results.depth(model, who, "geometry.cosine", kind="resid", item="cumulative")
    for block, row in found:
        yield Framed(row=row, intact=1.0, chance=row["chance"] or 0.0, where=f"after block {block}")
