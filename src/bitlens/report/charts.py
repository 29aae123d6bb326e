"""How are a compression, its interval and what it is compared with drawn? The same everywhere.

A chart holds one table of points with the store's own numbers; each point says what it `is`, each
layer draws one kind, and where a number lies on the axis is computed by the chart.
"""

from collections.abc import Iterable, Mapping, Sequence

import altair as alt

from bitlens.report.axes import Axis, words
from bitlens.report.evidence import Evidence, Row
from bitlens.report.palette import CONTROL, Mark
from bitlens.report.parts import Point, Spec

HEIGHT = 230
"""Of a chart that stands in a row of two or three, in pixels."""
INK = "#555"
"""Of reference lines."""
POINTS = alt.NamedData("points")
"""Stands in every layer for the chart's one table."""


def point(axis: Axis, row: Row, x: float | str, who: str, kind: str, **more: str) -> Point:
    """An estimate as a chart holds it: what it is, where, its value and its interval."""
    numbers = {
        end: axis.rounded(row[end]) for end in ("value", "low", "high") if row[end] is not None
    }
    return {"is": kind, "who": who, "x": x, **numbers, **more}


def pair(evidence: Evidence, model: str, name: str) -> list[tuple[str, str]]:
    """A compression and its noise control as (kind, who), the latter where it was run."""
    noise = evidence.noise(model, name)
    return [("compression", name), *([("noise", noise)] if noise else [])]


def lines(axis: Axis, values: Mapping[str, float | None]) -> list[Point]:
    """Reference lines across, with their names; close ones share a name; none off the axis."""
    drawn: list[Point] = []
    for name, value in values.items():
        if value is None or not axis.shows(value):
            continue
        beside = [d for d in drawn if abs(axis.along(d["value"]) - axis.along(value)) < 0.06]
        if beside:
            beside[0]["name"] += f", {name}"
        drawn.append({"is": "line", "value": value, "name": "" if beside else name})
    return drawn


def only(kind: str) -> alt.Chart:
    """A layer that draws the points of one kind."""
    return alt.Chart(POINTS).transform_filter(alt.FieldEqualPredicate(field="is", equal=kind))


def line_layers(axis: Axis) -> list[alt.Chart]:
    """What draws `lines`; names stand at the left, where damage is rarely near the floor."""
    chart = only("line")
    return [
        chart.mark_rule(color=INK, strokeDash=[5, 4]).encode(y=axis.y()),
        named(chart, axis),
    ]


def named(chart: alt.Chart, axis: Axis) -> alt.Chart:
    """The name of a reference line, on it, at the left."""
    text = chart.mark_text(align="left", baseline="bottom", dx=4, dy=-2, color="#444", fontSize=10)
    return text.encode(y=axis.y(), x=alt.value(0), text="name:N")


def channels(names: Sequence[str], marks: Mapping[str, Mark]) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape by compression: the field `who` of a point."""
    colours = alt.Scale(domain=names, range=[marks[n].colour for n in names])
    shapes = alt.Scale(domain=names, range=[marks[n].shape for n in names])
    return alt.Color("who:N", title=None, scale=colours), alt.Shape(
        "who:N", title=None, scale=shapes
    )


def mark_layers(
    axis: Axis,
    names: Sequence[str],
    marks: Mapping[str, Mark],
    x: alt.X,
    where: str,
    joined: bool = False,
) -> list[alt.Chart]:
    """Compressions filled in their colour and shape, noise hollow in grey, joined by lines or not.

    Both with bars for their intervals. `where` says what x is.
    """
    colour, shape = channels(names, marks)
    told = tooltip(axis, {"who": "compression", "is": "shown", "x": where})
    own, noise = only("compression"), only("noise")
    y, low = axis.y(), axis.y("lo")
    paths = [
        noise.mark_line(color=CONTROL, strokeDash=[4, 3], strokeWidth=1.2).encode(
            x=x, y=y, detail="who:N"
        ),
        own.mark_line().encode(x=x, y=y, color=colour),
    ]
    return [
        *(paths if joined else []),
        noise.mark_rule(color=CONTROL).encode(x=x, y=low, y2="hi:Q"),
        noise.mark_point(filled=False, size=75, color=CONTROL, strokeWidth=1.7).encode(
            x=x, y=y, shape=shape, tooltip=told
        ),
        own.mark_rule(strokeWidth=2).encode(x=x, y=low, y2="hi:Q", color=colour),
        own.mark_point(filled=True, size=85, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=told
        ),
    ]


def tooltip(axis: Axis, fields: Mapping[str, str]) -> list[alt.Tooltip]:
    """What hovering a point tells: these fields by their titles, then value and interval."""
    numbers = {
        "value": words(axis.metric.name),
        "low": "95 % interval from",
        "high": "95 % interval to",
    }
    return [
        *(alt.Tooltip(f"{field}:N", title=title) for field, title in fields.items()),
        *(alt.Tooltip(f"{n}:Q", title=title, format=".8~g") for n, title in numbers.items()),
    ]


def frame(axis: Axis, layers: Iterable[alt.Chart], height: int) -> Spec:
    """The specification of a chart that still lacks its points and its title."""
    places = {"y": axis.formula("value"), "lo": axis.formula("low"), "hi": axis.formula("high")}
    chart = alt.layer(*layers).transform_calculate(**places).properties(height=height)
    spec = chart.to_dict()
    return {key: spec[key] for key in ("layer", "transform", "height")}
