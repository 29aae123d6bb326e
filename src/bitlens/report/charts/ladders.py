"""How does a number run along steps: percentiles of positions, thresholds of a score?"""

from collections.abc import Mapping

import altair as alt

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.axes import Axis, fit
from bitlens.report.charts.charts import (
    HEIGHT,
    frame,
    line_layers,
    lines,
    mark_layers,
    only,
    pair,
    point,
)
from bitlens.report.charts.palette import Mark
from bitlens.report.page.parts import Panel, Point
from bitlens.results.records import Metric

FOOT = -0.16
"""Where notes stand under a share of none."""


def shares(metric: Metric, label: str, notes: bool) -> Axis:
    """All shares from none to all: ladders that can be compared. `notes`: with room for them."""
    low = FOOT - 0.06 if notes else -0.06
    return Axis(metric, "linear", low, 1.1, (0, 0.25, 0.5, 0.75, 1), label)


def ladder(
    results: AuditResults,
    model: str,
    steps: Mapping[str, str],
    marks: Mapping[str, Mark],
    title: str,
    along: str,
    site: str = "logits",
    item: str = "",
    axis: Axis | None = None,
    notes: Mapping[str, str] | None = None,
) -> Panel | None:
    """Every compression and its noise in one chart; None where no step has a value.

    `steps`: by the text under them, full names of metrics. `along` says what the steps are.
    Without an axis one is fitted. `notes`: by step, what stands below the curves.
    """
    twins = [twin.compression for twin in results.measured(model)]
    rows = [
        (row, step, twin, kind)
        for twin in twins
        for kind, who in pair(results, model, twin)
        for step, name in steps.items()
        if (row := results.find(model, who, name, site, item))
    ]
    if not rows:
        return None
    metric = results.metrics[next(iter(steps.values()))]
    axis = axis or fit(metric, [row for row, *_ in rows], [metric.intact])
    x = alt.X("x:O", title=along, sort=list(steps), axis=alt.Axis(labelAngle=0))
    note = only("note").mark_text(color="#444", fontSize=10)
    layers = [
        *line_layers(axis),
        *mark_layers(axis, twins, marks, x, along, True),
        *([note.encode(x=x, y=axis.y(), text="name:N")] if notes else []),
    ]
    points: list[Point] = [point(axis, row, step, twin, kind) for row, step, twin, kind in rows]
    # The best values stand at the left where steps are of a share.
    points += lines(axis, {"intact": metric.intact}, "right" if axis.ticks else "left")
    points += [
        {"is": "note", "x": step, "value": FOOT, "name": name}
        for step, name in (notes or {}).items()
    ]
    return Panel(title, frame(axis, layers, HEIGHT), tuple(points))
