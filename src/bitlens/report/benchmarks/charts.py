"""How the right answer takes shape: its margin after every block, of a model and its twins."""

from collections.abc import Mapping, Sequence

from bitlens.report.charts.axes import fit
from bitlens.report.charts.channels import channel, having
from bitlens.report.charts.charts import HEIGHT, frame, line_layers, lines, mark_layers, point
from bitlens.report.charts.palette import Mark
from bitlens.report.page.parts import Figure, Panel, Point, Strip
from bitlens.results.benchmarks.by_depth import margins
from bitlens.results.benchmarks.folder import Benchmarked
from bitlens.results.counts import count
from bitlens.results.records import REFERENCE, Metric

MARGIN = Metric(
    "margin",
    "By how much does the right choice lead the best wrong one?",
    unit="nats",
    worse="lower",
    intact=None,
    level=True,
)
INK = Mark("#222222", "stroke", "▬")


def margin_figure(
    found: Benchmarked, model: str, drawn: Mapping[str, Mark], name: str
) -> Figure | None:
    """A chart a benchmark; None where no answer has a depth."""
    twins = [twin for twin in found.twins(model, control=False) if twin in drawn]
    marks = {REFERENCE: INK, **{twin: drawn[twin] for twin in twins}}
    panels = [
        panel
        for benchmark in found.benchmarks(model)
        if (panel := _panel(found, model, benchmark, marks)) is not None
    ]
    if not panels:
        return None
    return Figure(
        name=name,
        title="Margin of the right answer, by block",
        key="Log-probability of the right choice minus that of the best wrong one, read by the "
        "logit lens after each block; above 0 the question is answered rightly. Means over "
        "questions; bars: 95 % intervals.",
        strips=(Strip("", tuple(panels)),),
        caption="The last block is what the model says. The intervals are of each curve by itself; "
        f"which answers differ, and from where, is counted below.{_unknown(found, model, marks)}",
        legend=tuple((mark, who) for who, mark in marks.items()),
        across=min(2, len(panels)),
    )


def _unknown(found: Benchmarked, model: str, marks: Mapping[str, Mark]) -> str:
    """Where the lens gives no numbers."""
    lost = 0
    for benchmark in found.benchmarks(model):
        for who in marks:
            of = found.depths_of(model, who, benchmark)
            lost += sum(margin is None for depth in of for margin in depth.margins)
    if not lost:
        return ""
    return (
        f" Of {count(lost, 'pair')} of question and block the lens gives no finite number: they "
        "are left out there."
    )


def _panel(
    found: Benchmarked, model: str, benchmark: str, marks: Mapping[str, Mark]
) -> Panel | None:
    curves = {who: margins(found.depths_of(model, who, benchmark)) for who in marks}
    rows = [(who, vars(at)) for who, curve in curves.items() for at in curve]
    if not rows:
        return None
    axis = fit(MARGIN, [row for _, row in rows], [0.0])
    x = channel("x:O", title="after block", axis=having(labelAngle=0, labelOverlap=True))
    names: Sequence[str] = list(marks)
    layers = [
        *line_layers(axis),
        *mark_layers(axis, names, marks, x, where="block", joined=True),
    ]
    table: list[Point] = [
        point(axis, row, row["block"], who=who, kind="compression") for who, row in rows
    ]
    last = max(row["block"] for _, row in rows) or 1
    drawn = [(row["block"] / last, row["value"]) for _, row in rows if row["value"] is not None]
    table += lines(axis, {"neither right nor wrong": 0.0}, end="right", drawn_at=drawn)
    return Panel(benchmark, frame(axis, layers, HEIGHT), tuple(table))
