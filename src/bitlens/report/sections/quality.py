"""How much quality does each bit buy? Damage to the outputs against bits per weight."""

import statistics
from collections.abc import Mapping
from dataclasses import replace

import altair as alt

from bitlens.report.axes import Axis, fit, off, words
from bitlens.report.charts import (
    HEIGHT,
    beside,
    frame,
    line_layers,
    lines,
    mark_layers,
    only,
    pair,
    point,
)
from bitlens.report.evidence import Evidence
from bitlens.report.palette import Mark
from bitlens.report.parts import Figure, Panel, Part, Point, Prose, Strip

KEY = (
    "Filled: a compression with its 95 % interval. Hollow grey: weight noise of the same size as "
    "that compression's error. Grey stairs: the best reached with at most so many bits. Dashed: "
    "the rounding floor (a cast), intact and chance."
)
METRICS = ("behaviour.kl", "behaviour.perplexity_ratio", "behaviour.same_top")


def quality(evidence: Evidence, model: str, marks: Mapping[str, Mark]) -> tuple[Part, ...]:
    """KL, perplexity ratio and same-top rate of one model against bits per weight."""
    bits = _bits(evidence, model)
    charts = [
        chart for name in METRICS if (chart := _against_bits(evidence, model, name, bits, marks))
    ]
    if not charts:
        return (Prose("The outputs were not measured: the analysis `behaviour` was not run."),)
    missing = "; ".join(remark for _, remarks in charts for remark in remarks)
    return (
        Figure(
            name=f"{evidence.prefix(model)}quality",
            title="What the outputs lost, against bits per weight",
            key=KEY,
            strips=(Strip("", tuple(panel for panel, _ in charts)),),
            caption=(
                "Far left and close to the intact value is best. A compression with more damage "
                "than its own noise loses more than an error of that size has to; one with less "
                "puts its error where it hurts less. Bits count scales and zeros."
                + (f" Not drawn: {missing}." if missing else "")
            ),
            legend=tuple((marks[name], name) for name in bits),
            controls=beside(evidence, model),
        ),
    )


def overview(evidence: Evidence, marks: Mapping[str, Mark]) -> tuple[Part, ...]:
    """KL against bits with a chart a model; nothing where there is one model only."""
    if len(evidence.models) < 2:
        return ()
    panels: list[Panel] = []
    shown: dict[str, tuple[Mark, str]] = {}
    for model in evidence.models:
        bits = _bits(evidence, model)
        if chart := _against_bits(evidence, model, METRICS[0], bits, marks):
            panels.append(replace(chart[0], title=model))
            shown |= {name: (marks[name], name) for name in bits}
    if not panels:
        return ()
    return (
        Figure(
            name="overview",
            title="KL divergence against bits per weight, model by model",
            key=KEY,
            strips=(Strip("", tuple(panels)),),
            caption="Each chart has its own axis.",
            legend=tuple(shown.values()),
            across=2 if len(panels) in (2, 4) else 3,
        ),
    )


def _bits(evidence: Evidence, model: str) -> dict[str, float]:
    return {t.compression: t.bits for t in evidence.measured(model) if t.bits is not None}


def _against_bits(
    evidence: Evidence, model: str, name: str, bits: Mapping[str, float], marks: Mapping[str, Mark]
) -> tuple[Panel, list[str]] | None:
    """One metric's chart, and which of its reference lines could not be drawn."""
    rows = [
        (row, twin, kind)
        for twin in bits
        for kind, who in pair(evidence, model, twin)
        for row in evidence.seeds(model, who, name)
        if row["value"] is not None
    ]
    if not rows:
        return None
    metric = evidence.metrics[name]
    cast = evidence.cast(model)
    floor = evidence.find(model, cast, name) if cast else None
    chances = [row["chance"] for row, _, _ in rows if row["chance"] is not None]
    known = {
        "intact": metric.intact,
        cast or "cast": floor["value"] if floor else None,
        "chance": statistics.median(chances) if chances else None,
    }
    axis = fit(metric, [row for row, _, _ in rows], known.values())
    points = [point(axis, row, bits[twin], twin, kind) for row, twin, kind in rows]
    least, most = min(bits.values()), max(bits.values())
    pad = 0.08 * (most - least) or 0.5
    x = alt.X(
        "x:Q",
        title="bits per weight",
        scale=alt.Scale(domain=[least - pad, most + pad], nice=False, zero=False),
    )
    stairs = only("stairs").mark_line(color="#c8c8c8", strokeWidth=1.5, interpolate="step-after")
    layers = [
        stairs.encode(x=x, y=axis.y()),
        *line_layers(axis),
        *mark_layers(axis, list(bits), marks, x, "bits per weight"),
    ]
    table = (*points, *_stairs(axis, points), *lines(axis, known))
    remarks = [off(axis, f"{words(metric.name)} {k}", value) for k, value in known.items()]
    panel = Panel(words(metric.name), frame(axis, layers, HEIGHT), table)
    return panel, [remark for remark in remarks if remark]


def _stairs(axis: Axis, points: list[Point]) -> list[Point]:
    """The compressions no other betters with as few bits; empty where that is only one."""
    sign = -1 if axis.metric.worse == "lower" else 1
    stairs: list[Point] = []
    best = float("inf")
    for bits, damage in sorted(
        (p["x"], sign * p["value"]) for p in points if p["is"] == "compression"
    ):
        if damage < best:
            best = damage
            stairs.append({"is": "stairs", "x": bits, "value": sign * damage})
    return stairs if len(stairs) > 1 else []
