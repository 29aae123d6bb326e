"""Bars of shares that add up to a whole, one a compression, its noise below it."""

from collections.abc import Iterable, Mapping, Sequence

from bitlens.report.audit_results import Row
from bitlens.report.charts.channels import channel, constant, equals, having
from bitlens.report.charts.charts import frame
from bitlens.report.charts.layers import Layer
from bitlens.report.charts.palette import CERTAINTIES, PIECES, Mark
from bitlens.report.page.parts import Panel, Point
from bitlens.report.text.numbers import figure

READABLE = 0.1
"""A piece at least so long has its share written into it."""
_ROOM = "datum.value * width > 36"
"""So many pixels a share takes: on a narrow page it is left to the tooltip."""


def stacked(
    title: str, rows: Sequence[tuple[str, str, Mapping[str, Row]]], marks: Mapping[str, Mark]
) -> Panel:
    """One bar a row (label, compression, estimate by kind of piece), in the order of `marks`."""
    points = [point for label, who, pieces in rows for point in _pieces(label, who, pieces, marks)]
    return Panel(title, frame(None, _layers([row[0] for row in rows], marks), 26 * len(rows)),
                 tuple(points))  # fmt: skip


def _pieces(
    label: str, who: str, pieces: Mapping[str, Row], marks: Mapping[str, Mark]
) -> Iterable[Point]:
    start = 0.0
    for name in marks:
        if name not in pieces:
            continue
        row = pieces[name]
        known = {"value": row["value"], "low": row["low"], "high": row["high"]}
        numbers = {k: float(f"{v:.5g}") for k, v in known.items() if v is not None}
        yield {
            "is": "bar",
            "who": who,
            "row": label,
            "item": name,
            "from": round(start, 5),
            "to": round(start + row["value"], 5),
            "middle": round(start + row["value"] / 2, 5),
            "name": figure(round(row["value"], 3), "share") if row["value"] >= READABLE else "",
            **numbers,
        }
        start += row["value"]


def _layers(labels: Sequence[str], marks: Mapping[str, Mark]) -> list[Layer]:
    chart = Layer()
    x = channel(
        "from:Q",
        title=None,
        scale=having(domain=[0, 1], nice=False),
        axis=having(format="%", tickCount=5, labelOverlap=True, labelSeparation=4),
    )
    y = channel(
        "row:N",
        title=None,
        sort=None,
        scale=having(domain=list(labels)),
        axis=having(labelLimit=215, ticks=False, domain=False),
    )
    # Pieces of all kinds, so that charts which stand together share one scale.
    known = {**PIECES, **CERTAINTIES}
    scale = having(domain=list(known), range=[mark.colour for mark in known.values()])
    colour = channel("item:N", scale=scale, title=None)
    told = [
        channel("who:N", title="of"),
        channel("item:N", title="state"),
        channel("value:Q", title="share", format=".1%"),
        channel("low:Q", title="95 % interval from", format=".1%"),
        channel("high:Q", title="95 % interval to", format=".1%"),
    ]
    where = {"condition": {"test": _ROOM, **channel("name:N")}, **constant("")}
    return [
        chart.mark_bar(stroke="#ffffff", strokeWidth=1).encode(
            x=x, x2="to:Q", y=y, color=colour, tooltip=told
        ),
        *(
            chart.transform_filter(equals("item", name))
            .mark_text(fontSize=10, color=_ink(mark.colour))
            .encode(x="middle:Q", y=y, text=where)
            for name, mark in marks.items()
        ),
    ]


def _ink(colour: str) -> str:
    """Black or white, whichever is read on this colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else "#222222"
