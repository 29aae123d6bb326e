"""Charts of every head: where it stands in a twin, against where it stands in the reference."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import Axis, fit, words
from bitlens.report.charts.channels import channel
from bitlens.report.charts.charts import HEIGHT, channels, frame, named, only, pair
from bitlens.report.charts.layers import Layer
from bitlens.report.charts.palette import CONTROL, INK, Mark
from bitlens.report.page.parts import Panel, Point

Heads = dict[tuple[int, int], Row]
"""(block, head) to an estimate."""


def heads(
    results: AuditResults, model: str, compression: str, metric: str, *, of: str = ""
) -> Heads:
    """One number's estimates, head by head. `of`: `reference` or `twin`, for a level."""
    suffix = f", {of}" if of else ""
    return {
        (block, head): row
        for head in range(results.about(model)["heads"])
        for block, row in results.depth(
            model, compression, metric, kind="pattern", item=f"head {head}{suffix}"
        )
    }


def against(
    results: AuditResults, model: str, metric: str, marks: Mapping[str, Mark], percent: bool = True
) -> list[Panel]:
    """A chart a compression: reference across, twin and its noise up. Empty without values.

    `percent`: shares are written in per cent; else as the fractions they are.
    """
    twins = [twin.compression for twin in results.measured(model)]
    found = {
        twin: [
            (kind, who, place, before, after)
            for kind, who in pair(results, model, twin)
            for place, before, after in _both(results, model, who, metric)
        ]
        for twin in twins
    }
    rows = [row for points in found.values() for *_, before, after in points
            for row in (before, after)]  # fmt: skip
    if not rows:
        return []
    chances = [row["chance"] for row in rows if row["chance"] is not None]
    chance = statistics.median(chances) if chances else None
    drawn = results.metrics[metric] if percent else replace(results.metrics[metric], unit="")
    axis = fit(drawn, rows, [chance])
    empty = frame(axis, _layers(axis, twins, marks), HEIGHT)
    guides = _guides(axis, chance)
    return [
        Panel(twin, empty, (*(_point(axis, *found_one) for found_one in points), *guides))
        for twin, points in found.items()
        if points
    ]


def _both(
    results: AuditResults, model: str, who: str, metric: str
) -> Iterator[tuple[tuple[int, int], Row, Row]]:
    before = heads(results, model, who, metric, of="reference")
    after = heads(results, model, who, metric, of="twin")
    for place in before.keys() & after.keys():
        yield place, before[place], after[place]


def _point(
    axis: Axis, kind: str, who: str, place: tuple[int, int], before: Row, after: Row
) -> Point:
    known = {
        "x": before["value"],
        "left": before["low"],
        "right": before["high"],
        "value": after["value"],
        "low": after["low"],
        "high": after["high"],
    }
    numbers = {name: axis.rounded(value) for name, value in known.items() if value is not None}
    return {"is": kind, "who": who, "item": f"{place[0]}.{place[1]}", **numbers}


def _guides(axis: Axis, chance: float | None) -> list[Point]:
    """The line of no change, and chance across and up."""
    ends = [{"is": "same", "x": at, "value": at} for at in (axis.low, axis.high)]
    top = [{"is": "top", "x": axis.high, "value": axis.high, "name": "intact"}]
    if not axis.shows(chance):
        return [*ends, *top]
    return [*ends, *top, {"is": "chance", "x": chance, "value": chance, "name": "chance"}]


def _layers(axis: Axis, twins: Sequence[str], marks: Mapping[str, Mark]) -> list[Layer]:
    name = words(axis.metric.name)
    unit = "" if axis.metric.unit in ("", "share") else f" ({axis.metric.unit})"
    y = axis.y(title=f"in the twin{unit}")
    x = axis.x("x", f"{name} in the reference{unit}")
    left = axis.x("left", f"{name} in the reference{unit}")
    colour, shape = channels(twins, marks)
    numbers = {
        "x": "reference",
        "left": "95 % interval from",
        "right": "95 % interval to",
        "value": "twin",
        "low": "95 % interval from ",
        "high": "95 % interval to ",
    }
    told = [
        channel("item:N", title="head (block.head)"),
        channel("who:N", title="of"),
        *(channel(f"{n}:Q", title=title, format=".4~g") for n, title in numbers.items()),
    ]
    own, noise, same, chance = map(only, ("compression", "noise", "same", "chance"))
    return [
        same.mark_line(color=INK, strokeDash=[5, 4], strokeWidth=1).encode(x=x, y=y),
        only("top")
        .mark_text(align="right", dx=-58, dy=10, color="#444444", fontSize=10)
        .encode(x=x, y=y, text="name:N"),
        chance.mark_rule(color=INK, strokeDash=[1, 3]).encode(y=y),
        chance.mark_rule(color=INK, strokeDash=[1, 3]).encode(x=x),
        named(chance, y, "right"),
        own.mark_rule(strokeWidth=1, opacity=0.6).encode(
            x=x, y=axis.y("lo", f"in the twin{unit}"), y2="hi:Q", color=colour
        ),
        own.mark_rule(strokeWidth=1, opacity=0.6).encode(x=left, x2="right:Q", y=y, color=colour),
        own.mark_point(filled=True, size=38, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=told
        ),
        noise.mark_point(filled=False, size=110, color=CONTROL, strokeWidth=1.2).encode(
            x=x, y=y, shape=shape, tooltip=told
        ),
    ]
