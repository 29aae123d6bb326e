"""Charts of one number of every compression, and of its noise, against bits or size."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.axes import Axis, fit, off, words
from bitlens.report.charts.channels import Channel, channel, having
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
    "that compression's error. Grey stairs: the best reached with at most so much. Dashed: "
    "the cast to 16 bits, intact and chance."
)
WIDE = 4
"""Twins this many times as large as others lie on a logarithmic axis, where they squeeze nobody."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What twins take up: bits or bytes, by compression."""

    title: str
    """With its unit."""
    of: Mapping[str, float]
    """Not empty."""

    @property
    def logarithmic(self) -> bool:
        """Is one of them so much larger that it would squeeze the rest?"""
        return max(self.of.values()) > WIDE * min(self.of.values())

    @property
    def _ends(self) -> tuple[float, float]:
        least, most = (self._coordinate(end(self.of.values())) for end in (min, max))
        pad = 0.08 * (most - least) or 0.5
        return least - pad, most + pad

    def _coordinate(self, value: float) -> float:
        return math.log2(value) if self.logarithmic else value

    def along(self, value: float) -> float:
        """How far across a value lies: 0 at the left end, 1 at the right."""
        low, high = self._ends
        return (self._coordinate(value) - low) / (high - low)

    def x(self) -> Channel:
        """The encoding channel across."""
        low, high = self._ends
        if not self.logarithmic:
            scale = having(domain=[low, high], nice=False, zero=False)
            return channel("x:Q", title=self.title, scale=scale)
        low, high = 2**low, 2**high
        ticks = [k * 2.0**p for p in range(-2, 24) for k in (1, 1.5) if low <= k * 2.0**p <= high]
        thin = ticks[:: 1 + len(ticks) // 8]
        return channel(
            "x:Q",
            title=f"{self.title}, log scale",
            scale=having(type="log", domain=[low, high], nice=False),
            axis=having(values=thin, format="~g"),
        )


def bits_of(results: AuditResults, model: str) -> Footprint | None:
    """Bits per weight of the compressions that have such a number; None where none has."""
    found = {t.compression: t.bits for t in results.measured(model) if t.bits is not None}
    return Footprint(title="bits per weight", of=found) if found else None


def sizes_of(results: AuditResults, model: str) -> Footprint | None:
    """Bytes of the compressions' files, where they are known; None where of none they are."""
    found = {t.compression: t.bytes for t in results.measured(model) if t.bytes}
    if not found:
        return None
    unit, scale = ("GB", 1e9) if max(found.values()) >= 1e10 else ("MB", 1e6)
    return Footprint(title=f"size ({unit})", of={t: b / scale for t, b in found.items()})


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Which number a chart shows."""

    metric: str
    """Its full name."""
    site: str = "logits"
    item: str = ""
    title: str = ""
    """Empty: the metric's own."""
    intact: float | None = None
    """Of a level, what stands in the place of an intact value: the reference's own. Of levels none
    is the best, so they have no stairs."""


def against(
    results: AuditResults, model: str, shown: Shown, footprint: Footprint, marks: Mapping[str, Mark]
) -> tuple[Panel, list[str]] | None:
    """One number's chart, and which of its reference lines could not be drawn."""
    rows = [
        (row, twin, kind)
        for twin in footprint.of
        for kind, who in pair(results, model, twin)
        for row in results.seeds(model, who, shown.metric, site=shown.site, item=shown.item)
        if row["value"] is not None
    ]
    if not rows:
        return None
    metric = results.metrics[shown.metric]
    title = shown.title or words(metric.name)
    known = {
        "intact": metric.intact if shown.intact is None else shown.intact,
        **_cast(results, model, shown),
        "chance": _median(row["chance"] for row, _, _ in rows),
    }
    axis = fit(metric, [row for row, _, _ in rows], known.values())
    of = footprint.of
    points = [point(axis, row, of[twin], who=twin, kind=kind) for row, twin, kind in rows]
    drawn = plotted(axis, footprint, marks, points, stairs(axis, points), known)
    remarks = (off(axis, f"{title} {k}", value) for k, value in known.items())
    return replace(drawn, title=title), list(filter(None, remarks))


def plotted(
    axis: Axis,
    footprint: Footprint,
    marks: Mapping[str, Mark],
    points: list[Point],
    steps: list[Point],
    known: Mapping[str, float | None],
) -> Panel:
    """Twins and their noise across what they take up, the best so far in steps, and the lines that
    are known; called after the metric."""
    x = footprint.x()
    path = only("stairs").mark_line(color="#c8c8c8", strokeWidth=1.5, interpolate="step-after")
    layers = [
        path.encode(x=x, y=axis.y()),
        *line_layers(axis),
        *mark_layers(axis, list(footprint.of), marks, x, where=footprint.title),
    ]
    drawn_at = [(footprint.along(p["x"]), p["value"]) for p in points]
    table = (*points, *steps, *lines(axis, known, drawn_at=drawn_at))
    return Panel(words(axis.metric.name), frame(axis, layers, HEIGHT), table)


def _cast(results: AuditResults, model: str, of: Shown) -> dict[str, float | None]:
    """By its name, the number of the cast to 16 bits."""
    cast = results.cast(model)
    row = results.find(model, cast, of.metric, site=of.site, item=of.item) if cast else None
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
