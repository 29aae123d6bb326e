"""Bars of units by how much each matters: alone, and left out of the whole compression."""

from collections.abc import Iterator, Sequence

from bitlens.report.charts.channels import Channel, channel, equals, having
from bitlens.report.charts.charts import frame
from bitlens.report.charts.layers import Layer
from bitlens.report.charts.palette import Mark
from bitlens.report.page.parts import Panel, Point
from bitlens.results.records import Metric
from bitlens.results.sensitivity.records import Effect

ONLY, BACK = "only this", "all but this: saved"
WAYS = {ONLY: Mark("#0072B2", "circle", "●"), BACK: Mark("#D55E00", "square", "■")}
"""Both ways, and how each is drawn."""
ROW = 26
"""Pixels of a unit: two bars."""


def bars(title: str, metric: Metric, units: Sequence[tuple[Effect, Effect | None]]) -> Panel:
    """A row a unit, in this order: its own effect, and what leaving it out saves, each with its
    95 % interval."""
    points = [point for only, back in units for point in _points(only, back)]
    labels = [only.unit for only, _ in units]
    layers = _layers(labels, metric)
    # A layer without points has no end to its axis, and Vega complains of that.
    if not any(point["is"] == "interval" for point in points):
        layers = layers[:1]
    return Panel(title, frame(None, layers, ROW * len(labels)), tuple(points))


def _points(only: Effect, back: Effect | None) -> Iterator[Point]:
    for way, e in ((ONLY, only), (BACK, back)):
        if e is not None and e.value is not None:
            ends = {"value": e.value, "low": e.low, "high": e.high}
            known = {name: float(f"{v:.5g}") for name, v in ends.items() if v is not None}
            yield {"is": "bar", "way": way, "row": only.unit, "from": 0, **known}
            if "low" in known:
                yield {"is": "interval", "way": way, "row": only.unit, **known}


def _layers(labels: Sequence[str], metric: Metric) -> list[Layer]:
    unit = f" ({metric.unit})" if metric.unit and metric.unit != "share" else ""
    x = channel(
        "value:Q",
        title=f"{metric.name}{unit}",
        axis=having(format="%" if metric.unit == "share" else "~g", tickCount=8, labelOverlap=True),
    )
    y = channel(
        "row:N",
        title=None,
        sort=None,
        scale=having(domain=list(labels), paddingInner=0.25),
        axis=having(labelLimit=260, ticks=False, domain=False),
    )
    offset = channel("way:N", scale=having(domain=list(WAYS)), sort=None)
    colour = channel(
        "way:N",
        title=None,
        scale=having(domain=list(WAYS), range=[mark.colour for mark in WAYS.values()]),
    )
    chart = Layer()
    bar = chart.transform_filter(equals("is", "bar")).mark_bar()
    rule = chart.transform_filter(equals("is", "interval")).mark_rule(color="#222222")
    return [
        bar.encode(x=x, x2="from:Q", y=y, yOffset=offset, color=colour, tooltip=_told()),
        rule.encode(x="low:Q", x2="high:Q", y=y, yOffset=offset),
    ]


def _told() -> list[Channel]:
    return [
        channel("row:N", title="unit"),
        channel("way:N", title="what"),
        channel("value:Q", title="effect", format=".3~g"),
        channel("low:Q", title="95 % interval from", format=".3~g"),
        channel("high:Q", title="95 % interval to", format=".3~g"),
    ]
