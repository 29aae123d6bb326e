"""What does the average hide? Damage to the outputs by percentile of positions."""

from collections.abc import Mapping

import altair as alt

from bitlens.records import Metric
from bitlens.report.axes import fit
from bitlens.report.charts import (
    HEIGHT,
    frame,
    line_layers,
    lines,
    mark_layers,
    pair,
    point,
)
from bitlens.report.evidence import Evidence
from bitlens.report.palette import Mark
from bitlens.report.parts import Figure, Panel, Part, Strip

LADDERS = {
    "behaviour.kl": "KL divergence by percentile",
    "behaviour.dp": "change of the true token's probability",
}


def tails(evidence: Evidence, model: str, marks: Mapping[str, Mark]) -> tuple[Part, ...]:
    """KL and the true token's change of probability by percentile, where they were measured."""
    charts = [
        chart
        for stem, title in LADDERS.items()
        if (chart := _ladder(evidence, model, stem, title, marks))
    ]
    if not charts:
        return ()
    return (
        Figure(
            name=f"{evidence.prefix(model)}tails",
            title="Behind the averages: how the damage spreads over positions",
            key=(
                "Solid: a compression. Dashed grey, with the hollow shape of its compression: "
                "weight noise of the same size. Bars: 95 % intervals, where there is one."
            ),
            strips=(Strip("", tuple(charts)),),
            caption=(
                "KL: a steep rise means that a few positions carry the damage, a flat line that "
                "most are touched alike. Change of probability: a fan that is symmetric "
                "about zero is noise, one that reaches further down than up is loss."
            ),
            legend=tuple((marks[t.compression], t.compression) for t in evidence.measured(model)),
            across=2,
        ),
    )


def _ladder(
    evidence: Evidence, model: str, stem: str, title: str, marks: Mapping[str, Mark]
) -> Panel | None:
    steps = sorted(
        (_rank(metric), name)
        for name, metric in evidence.metrics.items()
        if name.startswith(f"{stem}_") and (metric.quantile is not None or name.endswith("_max"))
    )
    twins = [twin.compression for twin in evidence.measured(model)]
    rows = [
        (row, _percentile(rank), twin, kind)
        for twin in twins
        for kind, who in pair(evidence, model, twin)
        for rank, name in steps
        if (row := evidence.find(model, who, name))
    ]
    if not rows:
        return None
    metric = evidence.metrics.get(stem, evidence.metrics[steps[0][1]])
    axis = fit(metric, [row for row, *_ in rows], [metric.intact])
    order = [_percentile(rank) for rank, _ in steps]
    x = alt.X("x:O", title="percentile of positions", sort=order, axis=alt.Axis(labelAngle=0))
    layers = [*line_layers(axis), *mark_layers(axis, twins, marks, x, "percentile", True)]
    points = [point(axis, row, at, twin, kind) for row, at, twin, kind in rows]
    table = (*points, *lines(axis, {"intact": metric.intact}))
    return Panel(title, frame(axis, layers, HEIGHT), table)


def _rank(metric: Metric) -> float:
    return 1.0 if metric.quantile is None else metric.quantile


def _percentile(rank: float) -> str:
    return "max" if rank == 1 else f"{100 * rank:.4g}"
