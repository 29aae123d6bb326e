"""The tails of the damage to the outputs, by percentile of positions: what the average hides."""

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.charts import beside
from bitlens.report.charts.ladders import Ladder, ladder
from bitlens.report.page.parts import Figure, Part, Strip
from bitlens.report.registration import Marks
from bitlens.results.records import Metric

AXIS = "percentile of positions"
LADDERS = {
    "behaviour.kl": "KL divergence by percentile",
    "behaviour.dp": "change of the true token's probability",
}


def tails(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """KL and the true token's change of probability by percentile, where they were measured."""
    charts = [
        chart
        for stem, title in LADDERS.items()
        if (steps := _steps(results, stem))
        if (chart := ladder(results, model, marks, Ladder(steps=steps, title=title, along=AXIS)))
    ]
    if not charts:
        return ()
    return (
        Figure(
            name=f"{results.prefix(model)}tails",
            title="Behind the averages: how the damage spreads over positions",
            key=(
                "Solid: a compression. Dashed grey, with the hollow shape of its compression: "
                "weight noise of the same size. Bars: 95 % intervals, where there is one."
            ),
            strips=(Strip("", tuple(charts)),),
            caption=(
                "KL: a steep rise means that a few positions carry the damage, a flat line that "
                "most are touched alike. Change of probability: a fan that is symmetric "
                "about zero is noise, one that reaches further down than up is loss."
            ),
            legend=tuple((marks[t.compression], t.compression) for t in results.measured(model)),
            controls=beside(results, model),
            across=2,
        ),
    )


def _steps(results: AuditResults, stem: str) -> dict[str, str]:
    """By percentile, in order, the full names of the metrics."""
    found = sorted(
        (_rank(metric), name)
        for name, metric in results.metrics.items()
        if name.startswith(f"{stem}_") and (metric.quantile is not None or name.endswith("_max"))
    )
    return {_percentile(rank): name for rank, name in found}


def _rank(metric: Metric) -> float:
    return 1.0 if metric.quantile is None else metric.quantile


def _percentile(rank: float) -> str:
    return "max" if rank == 1 else f"{100 * rank:.4g}"
