"""Curves of a number from block to block: of all twins, their noise and the cast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import Axis, fit, off
from bitlens.report.charts.channels import channel, having
from bitlens.report.charts.charts import (
    channels,
    frame,
    line_layers,
    lines,
    named,
    only,
    pair,
    point,
    tooltip,
)
from bitlens.report.charts.layers import Layer
from bitlens.report.charts.palette import CAST, INK, Mark
from bitlens.report.page.parts import Figure, Panel, Point, Spec, Strip

HEIGHT = 200


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is to be drawn along depth, of all twins together."""

    metric: str
    """Its full name."""
    kinds: Mapping[str, str]
    """Kinds of site, and the title each row of charts has."""
    charts: Mapping[str, str]
    """By item of the estimates, the title of its chart; of controls the first has the cast."""
    reference: str = ""
    """The item of the reference's own curve, of a level."""
    name: str
    """The figure's file, without its ending."""
    title: str
    key: str


Curves = Mapping[tuple[str, str, str], list[tuple[int, Row]]]
"""(compression, kind of site, item) to (block, estimate), by depth."""


@dataclass(frozen=True)
class _Drawing:
    """What the charts of one figure share."""

    course: Course
    axis: Axis
    frame: Spec
    curves: Curves


def along(
    results: AuditResults, model: str, course: Course, marks: Mapping[str, Mark]
) -> Figure | None:
    """A row of charts a kind of site, a chart an item, all twins in it; None where nothing was
    measured."""
    metric = results.metrics[course.metric]
    twins = [twin.compression for twin in results.measured(model)]
    curves = _curves(results, model, course)
    shown = [
        (kind, item)
        for kind in course.kinds
        for item in course.charts
        if any((twin, kind, item) in curves for twin in twins)
    ]
    if not shown:
        return None
    rows = [row for curve in curves.values() for _, row in curve]
    chances = [row["chance"] for row in rows if row["chance"] is not None]
    axis = fit(metric, rows, [metric.intact, *chances])
    last = max(block for curve in curves.values() for block, _ in curve)
    drawn = _Drawing(
        course, axis, frame(axis, _layers(axis, last, twins, marks=marks), HEIGHT), curves
    )
    strips = tuple(
        Strip(
            course.kinds[kind],
            tuple(
                _panel(results, model, drawn, kind=kind, item=item)
                for at, item in shown
                if at == kind
            ),
        )
        for kind in dict.fromkeys(kind for kind, _ in shown)
    )
    cast = results.cast(model) in {who for who, *_ in curves}
    told = f"{results.cast(model)}: weights and arithmetic in 16 bits"
    return Figure(
        name=f"{results.prefix(model)}{course.name}",
        opens="layer",
        title=course.title,
        key=f"{course.key}{_dashes(axis, chances)}",
        strips=strips,
        caption=_missing(axis, chances),
        legend=tuple((marks[twin], twin) for twin in twins),
        controls=((CAST, told),) if cast else (),
        across=min(2, max(len(strip.panels) for strip in strips)),
    )


def _curves(results: AuditResults, model: str, course: Course) -> Curves:
    """Of twins and controls, at every kind of site."""
    everybody = [*results.measured(model), *results.controls(model)]
    return {
        (who, kind, item): found
        for who in (twin.compression for twin in everybody)
        for kind in course.kinds
        for item in (*course.charts, *filter(None, [course.reference]))
        if (found := results.depth(model, who, course.metric, kind=kind, item=item))
    }


def across(panels: int) -> int:
    """How many charts stand in a row where there are so many?"""
    return 2 if panels == 4 else max(1, min(panels, 3))


def _dashes(axis: Axis, chances: list[float]) -> str:
    """What the long dashes are: an intact value of 0 has no place on a logarithmic axis."""
    if axis.metric.level:
        return ""
    known = {"intact": axis.shows(axis.metric.intact), "chance": any(map(axis.shows, chances))}
    drawn = [name for name, shows in known.items() if shows]
    return f" Long dashes: {' and '.join(drawn)}." if drawn else ""


def _missing(axis: Axis, chances: list[float]) -> str:
    """Which reference lines are not on the charts, and why."""
    if axis.metric.level:
        return ""
    chance = chances[0] if chances else None
    missing = [off(axis, "intact", axis.metric.intact), off(axis, "chance", chance)]
    if axis.metric.intact is None:
        missing[0] = "intact, which has no finite value here"
    told = "; ".join(text for text in missing if text)
    return f"Not drawn: {told}." if told else ""


def _panel(results: AuditResults, model: str, drawn: _Drawing, kind: str, item: str) -> Panel:
    """Every twin with its noise, the cast, and of a level the reference."""
    course, axis = drawn.course, drawn.axis
    twins = [twin.compression for twin in results.measured(model)]
    shown = [(twin, what, who) for twin in twins for what, who in pair(results, model, twin)]
    if (cast := results.cast(model)) and item == next(iter(course.charts)):
        shown.append((cast, "cast", cast))
    table: list[Point] = [
        point(axis, row, block, who=who, kind=what, twin=twin)
        for twin, what, who in shown
        for block, row in drawn.curves.get((who, kind, item), [])
    ]
    first = next(twin for twin in twins if (twin, kind, item) in drawn.curves)
    before = drawn.curves.get((first, kind, course.reference), []) if course.reference else []
    for block, row in before:
        table.append(point(axis, row, block, who="the reference", kind="reference"))
    for block, row in drawn.curves[first, kind, item]:
        if axis.shows(row["chance"]):
            table.append({"is": "chance", "x": block, "value": row["chance"], "name": "chance"})
    table += lines(axis, {"intact": axis.metric.intact})
    return Panel(course.charts[item], drawn.frame, tuple(table))


def _layers(axis: Axis, last: int, twins: Sequence[str], marks: Mapping[str, Mark]) -> list[Layer]:
    x = channel(
        "x:Q",
        title="block",
        axis=having(tickMinStep=1, format="d", tickCount=8),
        scale=having(domain=[0, max(last, 1)], nice=False, zero=False, padding=8),
    )
    y, low = axis.y(), axis.y("lo")
    colour, shape = channels(twins, marks, field="twin")
    size = 34 if last < 16 else 14
    told = tooltip(axis, {"who": "of", "x": "block"})
    own, noise, cast, chance, reference = map(
        only, ("compression", "noise", "cast", "chance", "reference")
    )
    return [
        *line_layers(axis),
        chance.mark_line(color=INK, strokeDash=[9, 4]).encode(x=x, y=y),
        named(chance.transform_filter("datum.x == 0"), y),
        cast.mark_line(color=INK, strokeDash=[1, 3], strokeWidth=1.4).encode(x=x, y=y),
        # Wide and pale, so that it shows on both sides of a twin that runs on top of it.
        noise.mark_line(strokeWidth=9, opacity=0.28, strokeCap="round").encode(
            x=x, y=y, color=colour
        ),
        reference.mark_line(color=INK, strokeDash=[5, 3], strokeWidth=2).encode(
            x=x, y=y, tooltip=told
        ),
        own.mark_rule(strokeWidth=1.5).encode(x=x, y=low, y2="hi:Q", color=colour),
        own.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
        own.mark_point(filled=True, size=size, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=told
        ),
    ]
