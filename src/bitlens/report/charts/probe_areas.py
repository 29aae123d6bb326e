"""Charts of probes: by block, what the reference's probe reads in it, what it reads in the twins,
and what probes of the twins' own read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import Axis, fit
from bitlens.report.charts.channels import channel, having
from bitlens.report.charts.charts import beside, channels, frame, named, only, point, tooltip
from bitlens.report.charts.layers import Layer
from bitlens.report.charts.palette import INK, NOISE_CURVE, Mark
from bitlens.report.page.parts import Figure, Panel, Point, Strip

HEIGHT = 200
KINDS = {"frozen": "probes.auc_frozen", "refitted": "probes.auc_refitted"}
KEY = (
    "In a twin's colour, whole: the reference's probe as it is, with 95 % intervals; dashed and "
    "hollow: a probe learned on the twin. What lies between the two a new probe gets back. Grey "
    "dashes: the reference's probe in the reference. Pale and wide: the reference's probe under "
    "weight noise of the twin's size. Long dashes: chance, from shuffled labels."
)


def areas(
    results: AuditResults, model: str, items: Mapping[str, str], marks: Mapping[str, Mark]
) -> Figure | None:
    """A chart of each item of the estimates, by its title; None where nothing was measured."""
    twins = [twin.compression for twin in results.measured(model)]
    curves = {
        (item, twin, kind): found
        for item in items
        for twin in twins
        for kind, metric, who in _shown(results, model, twin)
        if (found := results.depth(model, who, metric, kind="resid", item=item))
    }
    rows = [row for curve in curves.values() for _, row in curve]
    if not rows:
        return None
    chances = [row["chance"] for row in rows if row["chance"] is not None]
    metric = replace(results.metrics["probes.auc_frozen"], scale="linear")
    axis = replace(fit(metric, rows, chances), label="AUC")
    last = max(block for curve in curves.values() for block, _ in curve)
    empty = frame(axis, _layers(axis, last, twins, marks), HEIGHT)
    panels = tuple(
        Panel(title, empty, tuple(_points(axis, curves, item, twins)))
        for item, title in items.items()
        if any(key[0] == item for key in curves)
    )
    return Figure(
        name=f"{results.prefix(model)}probes-areas",
        opens="layer",
        title="How well probes tell the classes apart, by block",
        key=KEY,
        strips=(Strip("", panels),),
        caption="AUC: how often a text of the class ranks above one of the other; ties half.",
        legend=tuple((marks[twin], twin) for twin in twins),
        controls=beside(results, model, NOISE_CURVE),
        across=2,
    )


Curves = Mapping[tuple[str, str, str], list[tuple[int, Row]]]
"""(item, twin, what is drawn) to (block, estimate), by depth."""


def _shown(results: AuditResults, model: str, twin: str) -> list[tuple[str, str, str]]:
    """What is drawn of a twin: its name on the chart, the metric, and of whom it is."""
    noise = results.noise(model, twin)
    return [
        ("reference", "probes.auc_reference", twin),
        *((kind, metric, twin) for kind, metric in KINDS.items()),
        *([("noise", KINDS["frozen"], noise)] if noise else []),
    ]


def _points(axis: Axis, curves: Curves, item: str, twins: Sequence[str]) -> list[Point]:
    found: list[Point] = []
    for (of, twin, kind), curve in curves.items():
        # The reference is the same beside every twin.
        if of != item or (kind == "reference" and twin != twins[0]):
            continue
        found += [point(axis, row, block, who=twin, kind=kind, twin=twin) for block, row in curve]
        if kind == "reference":
            found += [
                {"is": "chance", "x": block, "value": axis.rounded(row["chance"]), "name": "chance"}
                for block, row in curve
                if axis.shows(row["chance"])
            ]
    return found


def _layers(axis: Axis, last: int, twins: Sequence[str], marks: Mapping[str, Mark]) -> list[Layer]:
    x = channel(
        "x:Q",
        title="block",
        axis=having(tickMinStep=1, format="d", tickCount=8),
        scale=having(domain=[0, max(last, 1)], nice=False, zero=False, padding=8),
    )
    y, low = axis.y(), axis.y("lo")
    colour, shape = channels(twins, marks, field="twin")
    told = tooltip(axis, {"is": "probe", "who": "of", "x": "block"})
    frozen, refitted, noise, chance, reference = map(
        only, ("frozen", "refitted", "noise", "chance", "reference")
    )
    return [
        chance.mark_line(color=INK, strokeDash=[9, 4]).encode(x=x, y=y),
        named(chance.transform_filter("datum.x == 0"), y),
        noise.mark_line(strokeWidth=9, opacity=0.28, strokeCap="round").encode(
            x=x, y=y, color=colour
        ),
        reference.mark_line(color=INK, strokeDash=[5, 3], strokeWidth=2).encode(
            x=x, y=y, tooltip=told
        ),
        frozen.mark_rule(strokeWidth=1.5).encode(x=x, y=low, y2="hi:Q", color=colour),
        frozen.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
        frozen.mark_point(filled=True, size=34, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=told
        ),
        refitted.mark_line(strokeWidth=1.5, strokeDash=[4, 3]).encode(x=x, y=y, color=colour),
        refitted.mark_point(filled=False, size=60, strokeWidth=1.5).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=told
        ),
    ]
