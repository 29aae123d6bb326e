"""What all charts are made of: a compression, its interval, and what it is compared with.

A chart holds one table of points with the store's own numbers; each point says what it `is`, each
layer draws one kind, and where a number lies on the axis is computed by the chart.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import Axis, words
from bitlens.report.charts.channels import Channel, channel, constant, equals, having
from bitlens.report.charts.layers import Layer
from bitlens.report.charts.palette import CONTROL, INK, NOISE, Mark
from bitlens.report.page.parts import Point, Spec

HEIGHT = 230
"""The height of a chart that stands in a row of two or three, in pixels."""
End = Literal["left", "right", "middle"]
STRETCHES: dict[End, tuple[float, float]] = {
    "left": (0.0, 0.36),
    "right": (0.64, 1.0),
    "middle": (0.31, 0.69),
}
"""What a name takes of the way across, by where it stands."""
NEAR = 0.12
"""So much of the height from a line is in the way of its name."""


def point(axis: Axis, row: Row, x: float | str, *, who: str, kind: str, **more: Any) -> Point:
    """An estimate as a chart holds it: what it is, where, its value and its interval."""
    numbers = {
        end: axis.rounded(row[end]) for end in ("value", "low", "high") if row[end] is not None
    }
    return {"is": kind, "who": who, "x": x, **numbers, **more}


def pair(results: AuditResults, model: str, name: str) -> list[tuple[str, str]]:
    """A compression and its noise control as (kind, who), the latter where it was run."""
    noise = results.noise(model, name)
    return [("compression", name), *([("noise", noise)] if noise else [])]


def beside(results: AuditResults, model: str, mark: Mark = NOISE) -> tuple[tuple[Mark, str], ...]:
    """The legend's entry for noise, where any was run."""
    twins = results.measured(model)
    run = any(results.noise(model, twin.compression) for twin in twins)
    return ((mark, "weight noise of the same size"),) if run else ()


def lines(
    axis: Axis,
    values: Mapping[str, float | None],
    end: End = "left",
    drawn_at: Sequence[tuple[float, float]] = (),
) -> list[Point]:
    """Reference lines across, with their names; close ones share a name; none off the axis.

    A name stands at this end, unless a mark is in its way there and none elsewhere: `drawn_at` is
    what is drawn besides, as its share of the way across and its value.
    """
    drawn: list[Point] = []
    for name, value in values.items():
        if value is None or not axis.shows(value):
            continue
        beside = [d for d in drawn if abs(axis.along(d["value"]) - axis.along(value)) < 0.06]
        if beside:
            beside[0]["name"] += f", {name}"
        free = _free_end(axis, value, end, drawn_at)
        drawn.append({"is": "line", "value": value, "name": "" if beside else name, "end": free})
    return drawn


def _free_end(axis: Axis, value: float, end: End, drawn_at: Sequence[tuple[float, float]]) -> End:
    """The first place along a line where no mark is near it; the one asked for where none is."""
    near = [
        across
        for across, other in drawn_at
        if axis.shows(other) and abs(axis.along(other) - axis.along(value)) < NEAR
    ]
    for place in dict.fromkeys((end, *STRETCHES)):
        low, high = STRETCHES[place]
        if not any(low <= across <= high for across in near):
            return place
    return end


def only(kind: str) -> Layer:
    """A layer that draws the points of one kind."""
    return Layer().transform_filter(equals("is", kind))


def line_layers(axis: Axis) -> list[Layer]:
    """What draws `lines`, and the name of each at its end."""
    chart = only("line")
    ends = {end: equals("end", end) for end in get_args(End)}
    return [
        chart.mark_rule(color=INK, strokeDash=[5, 4]).encode(y=axis.y()),
        *(named(chart.transform_filter(at), axis.y(), end) for end, at in ends.items()),
    ]


def named(chart: Layer, y: Channel, end: End = "left") -> Layer:
    """The name of a reference line, on it, at one end or in the middle."""
    align = "center" if end == "middle" else end
    side: dict[str, Any] = {"align": align, "dx": {"left": 4, "right": -4, "middle": 0}[end]}
    text = chart.mark_text(baseline="bottom", dy=-2, color="#444444", fontSize=10, **side)
    across = {"left": {"x": constant(0)}, "right": {"x": constant("width")}}
    # Without a place across, text stands in the middle.
    return text.encode(y=y, text="name:N", **across.get(end, {}))


def channels(
    names: Sequence[str], marks: Mapping[str, Mark], field: str = "who"
) -> tuple[Channel, Channel]:
    """Colour and shape by compression, which stands in this field of a point."""
    colours = having(domain=names, range=[marks[n].colour for n in names])
    shapes = having(domain=names, range=[marks[n].shape for n in names])
    return channel(f"{field}:N", title=None, scale=colours), channel(
        f"{field}:N", title=None, scale=shapes
    )


def mark_layers(
    axis: Axis,
    names: Sequence[str],
    marks: Mapping[str, Mark],
    x: Channel,
    *,
    where: str,
    joined: bool = False,
) -> list[Layer]:
    """Compressions filled in their colour and shape, noise hollow in grey, joined by lines or not.

    Both with bars for their intervals. `where` says what x is. Noise is a larger ring over its
    compression, so that both are seen where they meet.
    """
    colour, shape = channels(names, marks)
    told = tooltip(axis, {"who": "compression", "is": "shown", "x": where})
    own, noise = only("compression"), only("noise")
    y, low = axis.y(), axis.y("lo")
    path = noise.mark_line(color=CONTROL, strokeDash=[4, 3], strokeWidth=1.5)
    return [
        *([own.mark_line().encode(x=x, y=y, color=colour)] if joined else []),
        own.mark_rule(strokeWidth=2).encode(x=x, y=low, y2="hi:Q", color=colour),
        own.mark_point(filled=True, size=60, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=told
        ),
        *([path.encode(x=x, y=y, detail="who:N")] if joined else []),
        noise.mark_rule(color=CONTROL).encode(x=x, y=low, y2="hi:Q"),
        noise.mark_point(filled=False, size=170, color=CONTROL, strokeWidth=1.7).encode(
            x=x, y=y, shape=shape, tooltip=told
        ),
    ]


def tooltip(axis: Axis, fields: Mapping[str, str]) -> list[Channel]:
    """What hovering a point tells: these fields by their titles, then value and interval."""
    numbers = {
        "value": words(axis.metric.name),
        "low": "95 % interval from",
        "high": "95 % interval to",
    }
    return [
        *(channel(f"{field}:N", title=title) for field, title in fields.items()),
        *(channel(f"{n}:Q", title=title, format=".8~g") for n, title in numbers.items()),
    ]


def frame(axis: Axis | None, layers: Iterable[Layer], height: int) -> Spec:
    """The specification of a chart that still lacks its points and its title.

    Without an axis its points hold their own coordinates.
    """
    found: Spec = {"layer": [layer.spec() for layer in layers]}
    if axis is not None:
        fields = {"y": "value", "lo": "low", "hi": "high"}
        found["transform"] = [{"as": k, "calculate": axis.formula(f)} for k, f in fields.items()]
    return {**found, "height": height}
