"""Axes of charts, on which a metric lies linearly, logarithmically, or by the nines towards 1."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bitlens.report.charts.channels import Channel, channel, having
from bitlens.report.page.parts import Spec
from bitlens.report.text.numbers import figure
from bitlens.results.records import Metric

Kind = Literal["linear", "log", "nines"]

ROOM = 2.5
"""A reference line may stretch an axis this many times; one farther off is named, not drawn."""

NO_PLACE = " (a log scale has no place for it)"
"""What is said of a reference line at 0 on a logarithmic axis, or at 1 towards 1."""

NAMES = {
    "kl": "KL divergence",
    "sqnr": "SQNR",
    "cka": "CKA",
    "l2": "L2 distance",
    "pearson": "Pearson correlation",
    "cosine": "cosine similarity",
    "dp": "change of p",
    "same_top": "same top token",
    "massive_share": "share of error in massive dimensions",
    "jsd": "JSD",
    "lens_kl": "KL of the lenses",
    "lens_same_top": "same token first",
    "lens_top5": "common in the top 5",
    "target": "true token's probability",
    "final_rank": "rank of the final choice",
    "fvu": "FVU",
    "l0": "L0",
    "firing_f1": "firing F1",
    "sink": "share on the first position",
    "induction": "induction score",
    "previous": "previous-token score",
    "duplicate": "duplicate-token score",
}
"""Metrics whose short name is not what a person would write."""


def words(name: str) -> str:
    """A metric's name as a person writes it."""
    return NAMES.get(name, name.replace("_", " "))


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Where values go. Coordinates are the values themselves, or by the nines 1 minus them."""

    metric: Metric
    kind: Kind
    low: float
    """The smallest coordinate on the axis."""
    high: float
    ticks: tuple[float, ...] = ()
    """Where ticks stand; empty: at round numbers."""
    label: str = ""
    """What stands beside the axis; empty: the unit."""

    def shows(self, value: float | None) -> bool:
        """Does a reference line at this value fall on the axis?"""
        at = _coordinate(self.kind, value)
        return at is not None and self.low <= at <= self.high

    def along(self, value: float) -> float:
        """How far along the axis does a value it shows lie? 0 at `low`, 1 at `high`."""
        at = 1 - value if self.kind == "nines" else value
        if self.kind == "linear":
            return (at - self.low) / (self.high - self.low)
        return math.log(at / self.low) / math.log(self.high / self.low)

    def formula(self, field: str) -> str:
        """The chart's own expression for the coordinate of a field, held within the axis."""
        at = f"1 - datum.{field}" if self.kind == "nines" else f"datum.{field}"
        return f"isValid(datum.{field}) ? clamp({at}, {self.low!r}, {self.high!r}) : null"

    def rounded(self, value: float) -> float:
        """A value with the digits a screen can show: towards 1, those of its distance to 1."""
        if self.kind == "nines" and value != 1:
            return round(value, 4 - math.floor(math.log10(abs(1 - value))))
        return float(f"{value:.7g}")

    def y(self, field: str = "y", title: str | None = None) -> Channel:
        """The encoding channel up, of a field of coordinates."""
        named = title or self.title or None
        return channel(f"{field}:Q", scale=self._scale(), axis=self._axis(), title=named)

    def x(self, field: str, title: str | None = None) -> Channel:
        """The encoding channel across, for charts that set a number against itself."""
        named = title or self.title or None
        return channel(f"{field}:Q", scale=self._scale(), axis=self._axis(), title=named)

    def _scale(self) -> Spec:
        linear = self.kind == "linear"
        return having(
            type="linear" if linear else "log",
            domain=[self.low, self.high],
            reverse=self.kind == "nines",
            nice=False,
            **({"zero": False} if linear else {}),
        )

    def _axis(self) -> Spec:
        shown = "1 - datum.value" if self.kind == "nines" else "datum.value"
        percent = f"format(100 * ({shown}), '.10~g') + ' %'"
        marked = self._marked()
        return having(
            labelExpr=percent if self.metric.unit == "share" else f"format({shown}, '.10~g')",
            tickCount=5,
            **({"values": marked} if marked else {}),
        )

    def _marked(self) -> list[float]:
        if self.ticks or self.kind == "linear":
            return list(self.ticks)
        return _ticks(self.low, self.high)

    @property
    def title(self) -> str:
        """Its label; else the unit, and that distances are ratios where they are."""
        if self.label:
            return self.label
        unit = "" if self.metric.unit == "share" else self.metric.unit
        scale = {"linear": "", "log": "log scale", "nines": "log scale towards 1"}[self.kind]
        return ", ".join(text for text in (unit, scale) if text)


def fit(
    metric: Metric, rows: Iterable[Mapping[str, Any]], lines: Iterable[float | None] = ()
) -> Axis:
    """The axis that holds these estimates with their intervals, and what lines are near.

    `rows` must hold at least one value; `lines` are intact, chance and other references.
    """
    table = list(rows)
    values = [row["value"] for row in table]
    kind = _kind(metric, values)
    ends = [row[end] for row in table for end in ("low", "high")]
    middle, around = _stretch(kind, values), _stretch(kind, ends)
    low, high = min(middle), max(middle)
    decade = 1.0 if kind != "linear" else math.inf
    # The end of an interval may come so close to 0 (or to 1, by the nines) that a logarithmic
    # axis would show little else: it is held a decade beyond the outermost value.
    low = min([low, *(max(at, low - decade) for at in around)])
    high = max([high, *(min(at, high + decade) for at in around)])
    least = 0.05 if kind != "linear" else 1e-6 + 1e-3 * abs(high)
    room = max(high - low, least)
    for at in _stretch(kind, lines):
        if max(high, at) - min(low, at) <= ROOM * room:
            low, high = min(low, at), max(high, at)
    margin = 0.12 * max(high - low, least)
    low, high = low - margin, high + margin
    if kind != "linear":
        low, high = 10**low, 10**high
    return Axis(metric=metric, kind=kind, low=float(f"{low:.7g}"), high=float(f"{high:.7g}"))


def off(axis: Axis, name: str, value: float | None) -> str:
    """Why a reference line is not drawn, as half a sentence; empty where it is, or is not known."""
    if value is None or axis.shows(value):
        return ""
    nowhere = _coordinate(axis.kind, value) is None
    return f"{name}, {figure(value, axis.metric.unit)}{NO_PLACE if nowhere else ' (off the axis)'}"


def _kind(metric: Metric, values: Iterable[float]) -> Kind:
    """The scale a metric's interval lives on decides how it is drawn.

    Where no value has a place on a logarithmic axis (all are intact), it is linear.
    """
    known = list(values)
    if metric.scale == "log" and min(known) >= 0 and max(known) > 0:
        return "log"
    if metric.intact == 1 and metric.scale in ("log1m", "atanh", "logit") and min(known) < 1:
        return "nines"
    return "linear"


def _coordinate(kind: Kind, value: float | None) -> float | None:
    """Where a value goes; None where it has no place (0 on a logarithmic axis)."""
    if value is None or kind == "linear":
        return value
    at = 1 - value if kind == "nines" else value
    return at if at > 0 else None


def _stretch(kind: Kind, values: Iterable[float | None]) -> list[float]:
    """Coordinates in the units of paper: logarithms where the axis is logarithmic."""
    found = [at for value in values if (at := _coordinate(kind, value)) is not None]
    if kind != "linear":
        return [math.log10(at) for at in found]
    return found


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis: decades, or finer where it spans less than two."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / 6)]
    # Less than a decade apart: round steps of 1, 2 or 5, as on a linear axis.
    least = (high - low) / 5
    place = 10 ** math.floor(math.log10(least))
    step = next(k * place for k in (1, 2, 5, 10) if k * place >= least * (1 - 1e-9))
    first = math.ceil(low / step)
    return [float(f"{k * step:.12g}") for k in range(first, math.floor(high / step) + 1)]
