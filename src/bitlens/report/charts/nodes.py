"""Charts of the nodes of circuits: effects against each other, and block by block."""

from collections.abc import Mapping, Sequence

from bitlens.report.audit_results import Row
from bitlens.report.charts.channels import Channel, channel, having
from bitlens.report.charts.charts import HEIGHT, channels, frame, only
from bitlens.report.charts.layers import Layer
from bitlens.report.charts.palette import CONTROL, INK, Mark
from bitlens.report.page.parts import Panel, Point
from bitlens.report.text.numbers import figure

ABOVE, BELOW = "#01665e", "#8c510a"
"""Of shares above nought and below; neither is better or worse, and neither a twin's colour."""
CELL = 26
"""Pixels of a block's row."""


_ABOUT_EFFECTS = [
    channel("item:N", title="node"),
    channel("who:N", title="of"),
    *(
        channel(f"{name}:Q", title=text, format=".3~%")
        for name, text in (
            ("x", "reference"),
            ("left", "95 % interval from"),
            ("right", "95 % interval to"),
            ("value", "twin"),
            ("low", "95 % interval from "),
            ("high", "95 % interval to "),
        )
    ),
]
"""What hovering a node tells."""


def against(
    title: str, shown: Mapping[str, Sequence[Row]], way: str, marks: Mapping[str, Mark]
) -> Panel | None:
    """Every node's effect in the reference across, in the twin up. `shown`: by compression, the
    rows of its nodes; a control, which has no mark, is drawn hollow and grey."""
    points: list[Point] = []
    for who, rows in shown.items():
        kind = "compression" if who in marks else "noise"
        points += [_point(row, way, who, kind) for row in rows if row[f"{way}_twin"] is not None]
    if not points:
        return None
    ends = [float(p[name]) for p in points for name in ("x", "value")]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.06 * (high - low or 1.0)
    low, high = low - margin, high + margin
    scale = having(domain=[low, high], nice=False, zero=False)
    axis = having(labelExpr="format(100 * datum.value, '.10~g') + ' %'", tickCount=5)

    def at(field: str, named: str) -> Channel:
        return channel(f"{field}:Q", scale=scale, axis=axis, title=f"{way} in the {named}")

    x, y = at("x", "reference"), at("value", "twin")
    own, noise, same = map(only, ("compression", "noise", "same"))
    colour, shape = channels([who for who in shown if who in marks], marks)
    lines = [{"is": "same", "x": end, "value": end} for end in (low, high)]
    layers = [
        same.mark_line(color=INK, strokeDash=[5, 4], strokeWidth=1).encode(x=x, y=y),
        noise.mark_point(filled=False, size=80, color=CONTROL, strokeWidth=1.2).encode(
            x=x, y=y, tooltip=_ABOUT_EFFECTS
        ),
        own.mark_rule(strokeWidth=1, opacity=0.6, clip=True).encode(
            x=x, y=at("low", "twin"), y2="high:Q", color=colour
        ),
        own.mark_point(filled=True, size=42, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=_ABOUT_EFFECTS
        ),
    ]
    return Panel(title, frame(None, layers, HEIGHT), (*points, *lines))


def _point(row: Row, way: str, who: str, kind: str) -> Point:
    fields = {
        "x": f"{way}_reference",
        "left": f"{way}_reference_low",
        "right": f"{way}_reference_high",
        "value": f"{way}_twin",
        "low": f"{way}_twin_low",
        "high": f"{way}_twin_high",
    }
    numbers = {name: _rounded(row[of]) for name, of in fields.items() if row[of] is not None}
    return {"is": kind, "who": who, "item": row["node"], **numbers}


def by_block(title: str, rows: Sequence[Row], column: str, *, circuit: bool) -> Panel | None:
    """Heads across and blocks down, a cell a node, dark by a share. `circuit`: the nodes of the
    reference's circuit have a frame, and those of them that are lost a cross."""
    known = [row for row in rows if row[column] is not None]
    if not known:
        return None
    most = max(abs(row[column]) for row in known) or 1.0
    heads = sorted({row["head"] for row in known if row["head"] >= 0})
    names = [*map(str, heads), *(name for name in ("attn", "mlp") if _any(known, name))]
    blocks = sorted({row["block"] for row in known})
    points = [_cell(row, column, circuit=circuit) for row in known]
    x = channel(
        "x:O",
        scale=having(domain=names),
        axis=having(labelAngle=0, ticks=False, domain=False),
        title="head",
    )
    y = channel(
        "y:O", scale=having(domain=blocks), axis=having(ticks=False, domain=False), title="block"
    )
    # Paler the nearer to nought: a page that turns dark has no colour to fade into.
    shade = channel(
        "size:Q", scale=having(domain=[0, most], range=[0.04, 1.0]), title=None, legend=None
    )
    colour = channel(
        "sign:N",
        scale=having(domain=["above", "below"], range=[ABOVE, BELOW]),
        title=None,
        legend=None,
    )
    told = [
        channel("item:N", title="node"),
        channel("value:Q", title="share", format=".3~%"),
        channel("low:Q", title="95 % interval from", format=".3~%"),
        channel("high:Q", title="95 % interval to", format=".3~%"),
    ]
    cells = only("cell")
    layers = [
        cells.mark_rect().encode(x=x, y=y, color=colour, opacity=shade, tooltip=told),
        _framed(cells).mark_rect(filled=False, stroke="#222222", strokeWidth=1.6).encode(x=x, y=y),
        cells.transform_filter("datum.lost")
        .mark_text(fontSize=15, fontWeight="bold", color="#222222")
        .encode(x=x, y=y, text=having(value="×")),
    ]
    told_most = f"{title}, darkest {figure(most, 'share')}"
    return Panel(told_most, frame(None, layers, CELL * len(blocks)), tuple(points))


def _cell(row: Row, column: str, *, circuit: bool) -> Point:
    ends = {end: row[f"{column}_{end}"] for end in ("low", "high")}
    return {
        "is": "cell",
        "x": _place(row),
        "y": row["block"],
        "item": row["node"],
        "value": _rounded(row[column]),
        "size": _rounded(abs(row[column])),
        "sign": "above" if row[column] >= 0 else "below",
        **{end: _rounded(value) for end, value in ends.items() if value is not None},
        "framed": circuit and row["circuit"],
        "lost": circuit and row["lost"],
    }


def _framed(cells: Layer) -> Layer:
    return cells.transform_filter("datum.framed")


def _place(row: Row) -> str:
    return str(row["head"]) if row["head"] >= 0 else str(row["node"]).partition(" ")[0]


def _any(rows: Sequence[Row], name: str) -> bool:
    return any(_place(row) == name for row in rows)


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
