"""Where does it break? Damage block by block: what accumulates, and what each block adds."""

from collections.abc import Mapping, Sequence

import altair as alt

from bitlens.records import Metric
from bitlens.report.axes import Axis, fit, off, words
from bitlens.report.charts import (
    INK,
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
from bitlens.report.evidence import Evidence, Row
from bitlens.report.palette import CONTROL, Mark
from bitlens.report.parts import Details, Figure, Panel, Part, Point, Prose, Spec, Strip, Tabs

KINDS = {
    "resid": "Residual stream after the block (resid)",
    "attn": "What attention adds (attn)",
    "mlp": "What the MLP adds (mlp)",
}
ITEMS = ("cumulative", "local")
FIRST = ("relative_error", "cosine", "cka", "sqnr")
"""The metrics a newcomer should see first; the others follow in a fold."""
HEIGHT = 150

Curves = Mapping[tuple[str, str, str], list[tuple[int, Row]]]
"""(compression, kind of site, item) to (block, estimate), by depth."""


def layers(evidence: Evidence, model: str, marks: Mapping[str, Mark]) -> tuple[Part, ...]:
    """One model's layer curves: a tab a metric, a strip a kind of site, a chart a compression."""
    metrics = {
        n.removeprefix("geometry."): m
        for n, m in evidence.metrics.items()
        if n.startswith("geometry.")
    }
    found = {name: _figure(evidence, model, metric, marks) for name, metric in metrics.items()}
    tabs = {name: (drawn,) for name, drawn in found.items() if drawn is not None}
    if not tabs:
        return (Prose("Nothing was measured inside: the analysis `geometry` was not run."),)
    first = tuple((words(name), tabs[name]) for name in FIRST if name in tabs)
    others = tuple((words(name), tabs[name]) for name in tabs if name not in FIRST)
    parts: list[Part] = [
        Prose(
            "Cumulative: the compressed model runs on its own, and its vectors are compared with "
            "the reference's at the same place, so errors of earlier blocks are included. Local: "
            "each compressed block is given the reference's own input, so only its own error "
            "shows. A block whose local error stands out is where to spend bits."
        )
    ]
    if first:
        parts.append(Tabs(first))
    if others:
        parts.append(Details("More measures of the same vectors", (Tabs(others),)))
    return tuple(parts)


def _figure(
    evidence: Evidence, model: str, metric: Metric, marks: Mapping[str, Mark]
) -> Figure | None:
    twins = [twin.compression for twin in evidence.measured(model)]
    curves = {
        (who, kind, item): found
        for who in [*twins, *(c.compression for c in evidence.controls(model))]
        for kind in KINDS
        for item in ITEMS
        if (found := evidence.depth(model, who, f"geometry.{metric.name}", kind, item))
    }
    kinds = [kind for kind in KINDS if any(who in twins and at == kind for who, at, _ in curves)]
    if not kinds:
        return None
    rows = [row for curve in curves.values() for _, row in curve]
    chances = [row["chance"] for row in rows if row["chance"] is not None]
    axis = fit(metric, rows, [metric.intact, *chances])
    last = max(block for curve in curves.values() for block, _ in curve)
    empty = frame(axis, _layers(axis, last, twins, marks), HEIGHT)
    strips = tuple(
        Strip(
            KINDS[kind],
            tuple(_panel(evidence, model, axis, empty, curves, t, kind) for t in twins),
        )
        for kind in kinds
    )
    way = {"higher": " Higher is worse.", "lower": " Lower is worse.", None: ""}[metric.worse]
    return Figure(
        name=f"{evidence.prefix(model)}layers-{metric.name}",
        title=f"{words(metric.name)} by block",
        key=(
            f"{metric.question}{way} Solid: cumulative. Dashed: local. Bands: 95 % intervals. "
            "Wide grey: weight noise of the same size, solid and dashed alike. Dotted: cumulative "
            "error of the cast, the rounding floor. Long dashes: intact and chance."
        ),
        strips=strips,
        caption=_missing(axis, chances),
        across=min(len(twins), 3) if len(twins) != 4 else 2,
    )


def _missing(axis: Axis, chances: list[float]) -> str:
    """Which reference lines are not on the charts, and why."""
    chance = chances[0] if chances else None
    missing = [off(axis, "intact", axis.metric.intact), off(axis, "chance", chance)]
    if axis.metric.intact is None:
        missing[0] = "intact, which has no finite value here"
    told = "; ".join(text for text in missing if text)
    return f"Not drawn: {told}." if told else ""


def _panel(
    evidence: Evidence,
    model: str,
    axis: Axis,
    empty: Spec,
    curves: Curves,
    twin: str,
    kind: str,
) -> Panel:
    drawn = [*pair(evidence, model, twin)]
    if cast := evidence.cast(model):
        drawn.append(("cast", cast))
    table: list[Point] = [
        point(axis, row, block, who, what, item=item)
        for what, who in drawn
        for item in ITEMS
        if not (what == "cast" and item == "local")
        for block, row in curves.get((who, kind, item), [])
    ]
    for block, row in curves.get((twin, kind, "cumulative"), []):
        if axis.shows(row["chance"]):
            table.append({"is": "chance", "x": block, "value": row["chance"], "name": "chance"})
    table += lines(axis, {"intact": axis.metric.intact})
    return Panel(twin, empty, tuple(table))


def _layers(
    axis: Axis, last: int, twins: Sequence[str], marks: Mapping[str, Mark]
) -> list[alt.Chart]:
    x = alt.X(
        "x:Q",
        title="block",
        axis=alt.Axis(tickMinStep=1, format="d", tickCount=8),
        scale=alt.Scale(domain=[0, max(last, 1)], nice=False, zero=False, padding=8),
    )
    y, low = axis.y(), axis.y("lo")
    scale = alt.Scale(domain=list(ITEMS), range=[[1, 0], [5, 3]])
    dash = alt.StrokeDash("item:N", scale=scale, legend=None)
    colour, shape = channels(twins, marks)
    dot = alt.OverlayMarkDef(color=CONTROL, size=6)
    size = 34 if last < 16 else 14
    told = tooltip(axis, {"who": "of", "item": "error", "x": "block"})
    own, noise, cast, chance = map(only, ("compression", "noise", "cast", "chance"))
    return [
        *line_layers(axis),
        chance.mark_line(color=INK, strokeDash=[9, 4]).encode(x=x, y=y),
        named(chance.transform_filter("datum.x == 0"), axis),
        cast.mark_line(color=INK, strokeDash=[1, 3], strokeWidth=1.4).encode(x=x, y=y),
        noise.mark_area(color=CONTROL, opacity=0.3).encode(x=x, y=low, y2="hi:Q", detail="item:N"),
        # Wide and pale, so that it shows on both sides of a twin that runs on top of it.
        noise.mark_line(color=CONTROL, strokeWidth=4, opacity=0.45, point=dot).encode(
            x=x, y=y, strokeDash=dash
        ),
        own.mark_area(opacity=0.2).encode(x=x, y=low, y2="hi:Q", detail="item:N", color=colour),
        own.mark_line(strokeWidth=2).encode(x=x, y=y, strokeDash=dash, color=colour),
        own.mark_point(filled=True, size=size, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=told
        ),
    ]
