"""Curves of numbers of SAEs along an axis of a study, with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from bitlens.report.charts.axes import Axis, fit
from bitlens.report.charts.channels import Channel, channel, having
from bitlens.report.charts.charts import HEIGHT, frame, line_layers, lines, only, point, tooltip
from bitlens.report.charts.layers import Layer
from bitlens.report.charts.palette import CONTROL, INK, Mark
from bitlens.report.page.parts import Panel
from bitlens.results.records import Metric

Row = dict[str, Any]
Series = Mapping[str, tuple[Mark, Sequence[tuple[str, Row]]]]
"""By name, how a curve is drawn and its estimates along the axis."""

CHANCE = Mark(CONTROL, "circle", "●")
CEILING = Mark(INK, "square", "□")
"""Hollow, and larger than what may lie on it."""
NULL = Mark(INK, "stroke", "┈")
DASHES = {NULL: [2, 3], CHANCE: [4, 3]}


def curves(
    title: str,
    metric: Metric,
    series: Series,
    places: Sequence[str],
    *,
    along: str,
    reference: Mapping[str, float] | None = None,
    axis: Axis | None = None,
) -> Panel | None:
    """One chart: by name, a mark and estimates at places along an axis; None where nothing has a
    value. `reference`: lines across, by name."""
    known = {
        name: (mark, [(x, row) for x, row in rows if row["value"] is not None])
        for name, (mark, rows) in series.items()
    }
    rows = [row for _, found in known.values() for _, row in found]
    if not rows:
        return None
    axis = axis or fit(metric, rows, list((reference or {}).values()))
    x = channel("x:O", title=along, sort=list(places), axis=having(labelAngle=0))
    layers = [*line_layers(axis)]
    points = lines(axis, dict(reference or {}), "right")
    for number, (name, (mark, found)) in enumerate(known.items()):
        kind = f"curve {number}"
        layers += _curve(axis, kind, mark, x=x, along=along)
        points += [point(axis, row, place, who=name, kind=kind) for place, row in found]
    return Panel(title, frame(axis, layers, HEIGHT), tuple(points))


def shares(metric: Metric, label: str = "") -> Axis:
    """An axis from nothing to everything: charts that can be compared."""
    ticks = (0, 0.25, 0.5, 0.75, 1)
    return Axis(metric=metric, kind="linear", low=-0.06, high=1.08, ticks=ticks, label=label)


def _curve(axis: Axis, kind: str, mark: Mark, *, x: Channel, along: str) -> list[Layer]:
    of, dash = only(kind), DASHES.get(mark, [1, 0])
    told = tooltip(axis, {"who": "of", "x": along})
    path = of.mark_line(color=mark.colour, strokeDash=dash).encode(x=x, y=axis.y())
    if mark is NULL:
        return [path]
    return [
        path,
        of.mark_rule(color=mark.colour, strokeWidth=2).encode(x=x, y=axis.y("lo"), y2="hi:Q"),
        of.mark_point(
            filled=mark is not CEILING,
            size=150 if mark is CEILING else 50,
            opacity=1,
            color=mark.colour,
            shape=mark.shape,
        ).encode(x=x, y=axis.y(), tooltip=told),
    ]
