"""One chart of one number, as somebody asks for it in Python: all twins on it, in their colours."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from bitlens.errors import InputError
from bitlens.registry import nearest
from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import Axis, fit, words
from bitlens.report.charts.palette import CONTROL, marks
from bitlens.report.page.parts import Point

AT_DEPTH = re.compile(r"([a-z]+)\.(\d+)")
"""The kind of a site, and its block."""
HEIGHT, WIDTH = 260, 460


def chart(
    results: AuditResults, model: str, metric: str, kind: str | None, item: str | None
) -> alt.LayerChart:
    """Estimates with their intervals: along depth where the number is measured in every block,
    else a row a twin. `kind` of site and `item`: the first there are, where none is named."""
    rows = _rows(results, model, metric)
    kind = _chosen("kind", kind, (_kind(row) for row in rows), metric)
    rows = [row for row in rows if _kind(row) == kind]
    item = _chosen("item", item, (row["item"] for row in rows), metric)
    rows = [row for row in rows if row["item"] == item]
    described = results.metrics[metric]
    axis = fit(described, rows, [described.intact, *(row["chance"] for row in rows)])
    deep = len({row["site"] for row in rows}) > 1
    place = ", ".join(filter(None, (kind, item)))
    title = f"{words(described.name)} ({place})" if place else words(described.name)
    drawn = _along(axis, rows) if deep else _beside(axis, rows)
    # Controls first: what they are compared with is drawn over them.
    ordered = sorted(rows, key=lambda row: not _control(row["compression"]))
    data = alt.InlineData(values=[_point(axis, row) for row in ordered])
    made: Any = alt.layer(*drawn, data=data)
    fields = {"y": "value", "lo": "low", "hi": "high"}
    made = made.transform_calculate(**{k: axis.formula(f) for k, f in fields.items()})
    head = alt.Title(title, subtitle=described.question)
    height = {"height": HEIGHT} if deep else {}
    whole: alt.LayerChart = made.properties(title=head, width=WIDTH, **height)
    return whole


def _rows(results: AuditResults, model: str, metric: str) -> list[Row]:
    """Of every twin and control. InputError where there is no such number."""
    if metric not in results.metrics:
        raise InputError(
            f"There is no number {metric} here.",
            "analysis.metric, such as behaviour.kl.",
            nearest(metric, results.metrics) or f"one of {', '.join(sorted(results.metrics)[:12])}",
        )
    twins = [*results.measured(model), *results.controls(model)]
    rows = [row for twin in twins for row in results.everywhere(model, twin.compression, metric)]
    if not rows:
        raise InputError(
            f"{metric} has no value in any twin of {model}.",
            "a number that was measured.",
            f'frame(metric="{metric}") has the reasons.',
        )
    return rows


def _control(name: str) -> bool:
    return name.startswith(("cast:", "noise:", "nothing"))


def _kind(row: Row) -> str:
    found = AT_DEPTH.fullmatch(row["site"])
    return found[1] if found else row["site"]


def _chosen(what: str, wanted: str | None, known: Iterable[str], metric: str) -> str:
    """The one that was named, or the first. InputError for one that is not there."""
    found = list(dict.fromkeys(known))
    if wanted is None:
        return "cumulative" if "cumulative" in found else found[0]
    if wanted not in found:
        raise InputError(
            f"{metric} has no {what} {wanted!r}.",
            f"one of {', '.join(found)}.",
            nearest(wanted, found) or f"{what}={found[0]!r}",
        )
    return wanted


def _point(axis: Axis, row: Row) -> Point:
    numbers = {
        end: axis.rounded(row[end]) for end in ("value", "low", "high") if row[end] is not None
    }
    found = AT_DEPTH.fullmatch(row["site"])
    return {"twin": row["compression"], "block": int(found[2]) if found else None, **numbers}


def _drawn(rows: Sequence[Row]) -> tuple[list[str], alt.Scale, alt.Scale]:
    """The twins, the controls after them, and the colours and shapes of both: controls grey."""
    names = list(dict.fromkeys(row["compression"] for row in rows))
    plain = [name for name in names if not _control(name)]
    drawn = marks(plain)
    colours = [drawn[name].colour if name in drawn else CONTROL for name in names]
    shapes = [drawn[name].shape if name in drawn else "stroke" for name in names]
    return (
        names,
        alt.Scale(domain=names, range=colours),
        alt.Scale(domain=names, range=shapes),
    )


def _told() -> list[alt.Tooltip]:
    numbers = [alt.Tooltip(f"{end}:Q", format=".6~g") for end in ("value", "low", "high")]
    return [alt.Tooltip("twin:N"), alt.Tooltip("block:Q"), *numbers]


def _along(axis: Axis, rows: Sequence[Row]) -> list[alt.Chart]:
    _, colours, shapes = _drawn(rows)
    plain = alt.Color("twin:N", scale=colours, legend=None)
    x = alt.X("block:Q", axis=alt.Axis(tickMinStep=1, format="d"))
    blank = alt.Chart().encode(x=x)
    return [
        blank.mark_area(opacity=0.2).encode(y=axis.y("lo"), y2="hi:Q", color=plain),
        blank.mark_line(strokeWidth=2).encode(y=axis.y(), color=plain),
        blank.mark_point(filled=True, opacity=1).encode(
            y=axis.y(),
            color=alt.Color("twin:N", title=None, scale=colours),
            shape=alt.Shape("twin:N", title=None, scale=shapes),
            tooltip=_told(),
        ),
    ]


def _beside(axis: Axis, rows: Sequence[Row]) -> list[alt.Chart]:
    names, colours, shapes = _drawn(rows)
    y = alt.Y("twin:N", title=None, sort=names)
    blank = alt.Chart().encode(y=y, color=alt.Color("twin:N", scale=colours, legend=None))
    return [
        blank.mark_rule(strokeWidth=2).encode(x=axis.x("lo"), x2="hi:Q"),
        blank.mark_point(filled=True, size=70, opacity=1).encode(
            x=axis.x("y"),
            shape=alt.Shape("twin:N", scale=shapes, legend=None),
            tooltip=_told(),
        ),
    ]
