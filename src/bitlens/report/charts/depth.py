"""Curves of a number from block to block: of a twin, its noise and the cast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import Axis, fit, off
from bitlens.report.charts.charts import (
    beside,
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
from bitlens.report.charts.palette import CAST, CONTROL, INK, NOISE_CURVE, Mark
from bitlens.report.page.parts import Figure, Panel, Point, Spec, Strip

HEIGHT = 150


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is to be drawn along depth."""

    metric: str
    """Its full name."""
    kinds: Mapping[str, str]
    """Kinds of site, and the title each strip has."""
    items: tuple[str, ...]
    """The first is drawn solid, and of controls too; the second dashed."""
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
    """A strip a kind of site, a chart a compression; None where nothing was measured."""
    metric = results.metrics[course.metric]
    twins = [twin.compression for twin in results.measured(model)]
    curves = {
        (who, kind, item): found
        for who in [*twins, *(c.compression for c in results.controls(model))]
        for kind in course.kinds
        for item in course.items
        if (found := results.depth(model, who, course.metric, kind=kind, item=item))
    }
    kinds = [k for k in course.kinds if any(who in twins and at == k for who, at, _ in curves)]
    if not kinds:
        return None
    rows = [row for curve in curves.values() for _, row in curve]
    chances = [row["chance"] for row in rows if row["chance"] is not None]
    axis = fit(metric, rows, [metric.intact, *chances])
    last = max(block for curve in curves.values() for block, _ in curve)
    layers = _layers(axis, last, twins, marks=marks, items=course.items)
    drawn = _Drawing(course, axis, frame(axis, layers, HEIGHT), curves)
    strips = tuple(
        Strip(
            course.kinds[kind],
            tuple(_panel(results, model, drawn, twin=t, kind=kind) for t in twins),
        )
        for kind in kinds
    )
    cast = results.cast(model) in {who for who, *_ in curves}
    return Figure(
        name=f"{results.prefix(model)}{course.name}",
        opens="layer",
        title=course.title,
        key=f"{course.key}{_dashes(axis, chances)}",
        strips=strips,
        caption=_missing(axis, chances),
        controls=(
            *beside(results, model, NOISE_CURVE),
            *(
                [(CAST, f"{results.cast(model)}: weights and arithmetic in 16 bits")]
                if cast
                else []
            ),
        ),
        across=across(len(twins)),
    )


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


def _panel(results: AuditResults, model: str, drawn: _Drawing, twin: str, kind: str) -> Panel:
    """One compression at one kind of site, beside its noise and the cast."""
    course, axis = drawn.course, drawn.axis
    shown = [*pair(results, model, twin)]
    if cast := results.cast(model):
        shown.append(("cast", cast))
    table: list[Point] = [
        point(axis, row, block, who=who, kind=what, item=item)
        for what, who in shown
        for item in course.items
        if _drawn(what, item, course)
        for block, row in drawn.curves.get((who, kind, item), [])
    ]
    for block, row in drawn.curves.get((twin, kind, course.items[0]), []):
        if axis.shows(row["chance"]):
            table.append({"is": "chance", "x": block, "value": row["chance"], "name": "chance"})
    table += lines(axis, {"intact": axis.metric.intact})
    return Panel(twin, drawn.frame, tuple(table))


def _drawn(what: str, item: str, course: Course) -> bool:
    """The reference is the same beside every control; a cast has one curve."""
    first = item == course.items[0]
    return first or what == "compression" or (what == "noise" and item != "reference")


def _layers(
    axis: Axis, last: int, twins: Sequence[str], marks: Mapping[str, Mark], items: Sequence[str]
) -> list[Layer]:
    x = alt.X(
        "x:Q",
        title="block",
        axis=alt.Axis(tickMinStep=1, format="d", tickCount=8),
        scale=alt.Scale(domain=[0, max(last, 1)], nice=False, zero=False, padding=8),
    )
    y, low = axis.y(), axis.y("lo")
    scale = alt.Scale(domain=list(items), range=[[1, 0], [5, 3]][: len(items)])
    dash = alt.StrokeDash("item:N", scale=scale, legend=None)
    colour, shape = channels(twins, marks)
    dot = alt.OverlayMarkDef(color=CONTROL, size=6)
    size = 34 if last < 16 else 14
    told = tooltip(axis, {"who": "of", **({"item": "shown"} if items[0] else {}), "x": "block"})
    own, noise, cast, chance = map(only, ("compression", "noise", "cast", "chance"))
    return [
        *line_layers(axis),
        chance.mark_line(color=INK, strokeDash=[9, 4]).encode(x=x, y=y),
        named(chance.transform_filter("datum.x == 0"), y),
        cast.mark_line(color=INK, strokeDash=[1, 3], strokeWidth=1.4).encode(x=x, y=y),
        noise.mark_area(color=CONTROL, opacity=0.3).encode(x=x, y=low, y2="hi:Q", detail="item:N"),
        # Wide and pale, so that it shows on both sides of a twin that runs on top of it.
        noise.mark_line(color=CONTROL, strokeWidth=6, opacity=0.45, point=dot).encode(
            x=x, y=y, strokeDash=dash
        ),
        own.mark_area(opacity=0.2).encode(x=x, y=low, y2="hi:Q", detail="item:N", color=colour),
        own.mark_line(strokeWidth=2).encode(x=x, y=y, strokeDash=dash, color=colour),
        own.mark_point(filled=True, size=size, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=told
        ),
    ]
