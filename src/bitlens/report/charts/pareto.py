"""Charts of one number of every compared twin against what it takes: bits, or bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bitlens.report.audit_results import Row
from bitlens.report.charts.axes import fit
from bitlens.report.charts.charts import point
from bitlens.report.charts.frontier import Footprint, plotted, stairs
from bitlens.report.charts.palette import Mark
from bitlens.report.page.parts import Panel
from bitlens.results.records import Metric


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a twin gives for what it takes."""

    who: str
    cost: float
    row: Row
    noise: Row | None = None
    """The same number of weight noise of its size."""


def against_cost(
    metric: Metric,
    offers: Sequence[Offer],
    marks: Mapping[str, Mark],
    *,
    title: str,
    across: str,
    comparable: bool,
) -> Panel:
    """One number against a cost. `across`: what the cost is. The stairs of the best so far are
    drawn where all of them are `comparable` and one side is better."""
    rows = [one.row for one in offers]
    noises = [(one, one.noise) for one in offers if one.noise is not None]
    axis = fit(metric, [*rows, *(row for _, row in noises)], (metric.intact,))
    points = [
        *(point(axis, one.row, one.cost, who=one.who, kind="compression") for one in offers),
        *(point(axis, row, one.cost, who=one.who, kind="noise") for one, row in noises),
    ]
    footprint = Footprint(title=across, of={one.who: one.cost for one in offers})
    # Levels of different models are compared here, so they have a best one too.
    ranked = replace(axis, metric=replace(metric, level=False))
    steps = stairs(ranked, points) if comparable and metric.worse else []
    drawn = plotted(axis, footprint, marks, points, steps, {"intact": metric.intact})
    return replace(drawn, title=title) if title else drawn
