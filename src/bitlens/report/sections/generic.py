"""The section of an analysis that has none of its own: every metric, site by site, twin by twin.

What a plug-in measures is on the page without a line about it: each number with its interval,
between what it is when nothing changed, what chance would give, and weight noise of the same size.
"""

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import words
from bitlens.report.page.parts import Column, Details, Part, Prose, Section, Table
from bitlens.report.text.differences import surely
from bitlens.report.text.numbers import amount, figure
from bitlens.results.counts import count
from bitlens.results.files.names import sanitise
from bitlens.results.records import Metric

MOST = 40
"""A table of more rows is closed at first."""


def unclaimed(results: AuditResults, claimed: set[str]) -> list[str]:
    """The analyses that were run and are not among those that a section shows."""
    named = dict.fromkeys(name.partition(".")[0] for name in results.metrics)
    return [analysis for analysis in named if analysis not in claimed]


def generic(results: AuditResults, model: str, analysis: str) -> tuple[Part, ...]:
    """A table a metric, its question over it; what was not measured is said."""
    metrics = [
        metric
        for name, metric in results.metrics.items()
        if name.partition(".")[0] == analysis and _places(results, model, name)
    ]
    if not metrics:
        return (Prose(f"There are no numbers of the analysis `{analysis}` here."),)
    stem = f"{results.prefix(model)}{sanitise(analysis)}"
    return tuple(
        Section(
            f"{stem}-{sanitise(metric.name)}",
            words(metric.name),
            _about(results, model, analysis, metric),
        )
        for metric in metrics
    )


def _about(results: AuditResults, model: str, analysis: str, metric: Metric) -> tuple[Part, ...]:
    way = {"higher": " Higher is worse.", "lower": " Lower is worse.", None: ""}[metric.worse]
    source = f" Source: {metric.source}." if metric.source else ""
    table = _table(results, model, analysis, metric)
    whole = Details(count(len(table.rows), "number"), (table,))
    return (
        Prose(f"{metric.question}{way}{source}"),
        whole if len(table.rows) > MOST else table,
    )


def _places(results: AuditResults, model: str, name: str) -> list[tuple[str, str]]:
    """(site, item) of a metric's estimates, in the store's order."""
    twins = {twin.compression for twin in results.measured(model)}
    rows = (
        row
        for row in results.estimates
        if row["model"] == model
        and row["compression"] in twins
        and f"{row['analysis']}.{row['metric']}" == name
    )
    return list(dict.fromkeys((row["site"], row["item"]) for row in rows))


def _table(results: AuditResults, model: str, analysis: str, metric: Metric) -> Table:
    """Every compression at every place of one metric."""
    name = f"{analysis}.{metric.name}"
    places = _places(results, model, name)
    items = any(item for _, item in places)
    rows = [
        (site, *([item] if items else []), *_cells(results, metric, row))
        for site, item in places
        for twin in results.measured(model)
        for row in results.seeds(model, twin.compression, name, site=site, item=item)[:1]
    ]
    titles = ("value", "intact", "chance", "under noise", "difference")
    return Table(
        (
            Column("site"),
            *([Column("item")] if items else []),
            Column("compression"),
            *(Column(title, numeric=True) for title in titles),
        ),
        tuple(rows),
        "In brackets: 95 % intervals. intact: the value when nothing changed; chance: what "
        "unrelated positions would give; under noise: the same number for weight noise of the "
        "same size; difference: how sure it is that the two differ.",
    )


def _cells(results: AuditResults, metric: Metric, row: Row) -> tuple[str, ...]:
    """The compression, its value, and what it is read beside."""
    model, twin = row["model"], row["compression"]
    noise = results.noise(model, twin)
    name = f"{row['analysis']}.{row['metric']}"
    beside = results.find(model, noise, name, site=row["site"], item=row["item"]) if noise else None
    known = (row["intact"], row["chance"])
    return (
        twin,
        amount(row, metric.unit),
        *("–" if value is None else figure(value, metric.unit) for value in known),
        "–" if beside is None else amount(beside, metric.unit),
        surely(results.contrast(row, noise)) or "–",
    )
