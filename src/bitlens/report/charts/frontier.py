"""Charts of one number of every compression, and of its noise, against bits per weight."""

import statistics
from collections.abc import Iterable, Mapping

import altair as alt

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.axes import Axis, fit, off, words
from bitlens.report.charts.charts import (
    HEIGHT,
    frame,
    line_layers,
    lines,
    mark_layers,
    only,
    pair,
    point,
)
from bitlens.report.charts.palette import Mark
from bitlens.report.page.parts import Panel, Point

KEY = (
    "Filled: a compression with its 95 % interval. Hollow grey: weight noise of the same size as "
    "that compression's error. Grey stairs: the best reached with at most so many bits. Dashed: "
    "the cast to 16 bits, intact and chance."
)


def bits_of(results: AuditResults, model: str) -> dict[str, float]:
    """Bits per weight of the compressions that have such a number."""
    return {t.compression: t.bits for t in results.measured(model) if t.bits is not None}


def against_bits(
    results: AuditResults,
    model: str,
    name: str,
    bits: Mapping[str, float],
    marks: Mapping[str, Mark],
    *,
    item: str = "",
    intact: float | None = None,
) -> tuple[Panel, list[str]] | None:
    """One metric's chart, and which of its reference lines could not be drawn.

    `intact`: of a level, what stands in the place of an intact value: the reference's own. Of
    levels none is the best, so they have no stairs.
    """
    rows = [
        (row, twin, kind)
        for twin in bits
        for kind, who in pair(results, model, twin)
        for row in results.seeds(model, who, name, item=item)
        if row["value"] is not None
    ]
    if not rows:
        return None
    metric = results.metrics[name]
    known = {
        "intact": metric.intact if intact is None else intact,
        **_cast(results, model, name, item),
        "chance": _median(row["chance"] for row, _, _ in rows),
    }
    axis = fit(metric, [row for row, _, _ in rows], known.values())
    points = [point(axis, row, bits[twin], who=twin, kind=kind) for row, twin, kind in rows]
    least, most = min(bits.values()), max(bits.values())
    pad = 0.08 * (most - least) or 0.5
    x = alt.X(
        "x:Q",
        title="bits per weight",
        scale=alt.Scale(domain=[least - pad, most + pad], nice=False, zero=False),
    )
    steps = only("stairs").mark_line(color="#c8c8c8", strokeWidth=1.5, interpolate="step-after")
    layers = [
        steps.encode(x=x, y=axis.y()),
        *line_layers(axis),
        *mark_layers(axis, list(bits), marks, x, where="bits per weight"),
    ]
    drawn_at = [((p["x"] - least + pad) / (most - least + 2 * pad), p["value"]) for p in points]
    table = (*points, *stairs(axis, points), *lines(axis, known, drawn_at=drawn_at))
    remarks = (off(axis, f"{words(metric.name)} {k}", value) for k, value in known.items())
    panel = Panel(words(metric.name), frame(axis, layers, HEIGHT), table)
    return panel, list(filter(None, remarks))


def _cast(results: AuditResults, model: str, name: str, item: str) -> dict[str, float | None]:
    """By its name, the number of the cast to 16 bits."""
    cast = results.cast(model)
    row = results.find(model, cast, name, item=item) if cast else None
    return {cast or "cast": row["value"] if row else None}


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def stairs(axis: Axis, points: list[Point]) -> list[Point]:
    """The compressions no other betters with as few bits; empty where that is only one,
    and of levels."""
    if axis.metric.level:
        return []
    sign = -1 if axis.metric.worse == "lower" else 1
    found: list[Point] = []
    best = float("inf")
    for bits, damage in sorted(
        (p["x"], sign * p["value"]) for p in points if p["is"] == "compression"
    ):
        if damage < best:
            best = damage
            found.append({"is": "stairs", "x": bits, "value": sign * damage})
    return found if len(found) > 1 else []
