"""Charts of a number along steps: percentiles of positions, thresholds of a score."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.axes import Axis, fit
from bitlens.report.charts.channels import channel, having
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


def shares(metric: Metric, label: str, *, notes: bool) -> Axis:
    """All shares from none to all: ladders that can be compared. `notes`: with room for them."""
    low = FOOT - 0.06 if notes else -0.06
    return Axis(
        metric=metric, kind="linear", low=low, high=1.1, ticks=(0, 0.25, 0.5, 0.75, 1), label=label
    )


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """What is to be drawn along steps."""

    steps: Mapping[str, str]
    """By the text under them, full names of metrics."""
    title: str
    along: str
    """What the steps are."""
    site: str = "logits"
    item: str = ""
    axis: Axis | None = None
    """Without one, one is fitted."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """By step, what stands below the curves."""


def ladder(
    results: AuditResults, model: str, marks: Mapping[str, Mark], of: Ladder
) -> Panel | None:
    """Every compression and its noise in one chart; None where no step has a value."""
    twins = [twin.compression for twin in results.measured(model)]
    rows = [
        (row, step, twin, kind)
        for twin in twins
        for kind, who in pair(results, model, twin)
        for step, name in of.steps.items()
        if (row := results.find(model, who, name, site=of.site, item=of.item))
    ]
    if not rows:
        return None
    metric = results.metrics[next(iter(of.steps.values()))]
    axis = of.axis or fit(metric, [row for row, *_ in rows], [metric.intact])
    x = channel(
        "x:O",
        title=of.along,
        sort=list(of.steps),
        axis=having(labelAngle=0, labelOverlap=True, labelSeparation=4),
    )
    note = only("note").mark_text(color="#444444", fontSize=10)
    layers = [
        *line_layers(axis),
        *mark_layers(axis, twins, marks, x, where=of.along, joined=True),
        *([note.encode(x=x, y=axis.y(), text="name:N")] if of.notes else []),
    ]
    points: list[Point] = [
        point(axis, row, step, who=twin, kind=kind) for row, step, twin, kind in rows
    ]
    # The best values stand at the left where steps are of a share.
    points += lines(axis, {"intact": metric.intact}, "right" if axis.ticks else "left")
    points += [
        {"is": "note", "x": step, "value": FOOT, "name": name} for step, name in of.notes.items()
    ]
    return Panel(of.title, frame(axis, layers, HEIGHT), tuple(points))
