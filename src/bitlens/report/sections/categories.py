"""The section on categories: which kind is hit harder than the rest, and how sure that is."""

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import fit
from bitlens.report.charts.channels import channel, having
from bitlens.report.charts.charts import (
    HEIGHT,
    beside,
    frame,
    line_layers,
    lines,
    mark_layers,
    pair,
    point,
)
from bitlens.report.kinds import KindNumber, apart, hit_harder, numbers_of, rows_of, tested, told
from bitlens.report.page.parts import (
    Column,
    Details,
    Figure,
    Panel,
    Part,
    Prose,
    Statement,
    Strip,
    Table,
)
from bitlens.report.registration import Marks, section
from bitlens.report.text.numbers import amount, figure, margin, probability
from bitlens.results.records import FEWEST

PERPLEXITY = KindNumber(name="behaviour.perplexity", title="perplexity", item="reference")


@section("categories", "Kinds of text", after="quality", uses=("text",))
def categories(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """Which kind is hit harder, a chart of each number by kind, and all of them in tables; nothing
    where no categories were named."""
    shown = numbers_of(results, model)
    if not shown or not results.measured(model):
        return ()
    return (
        _statement(results, model, shown[0]),
        _kinds(results, model, shown[0]),
        _figure(results, model, marks, shown),
        Details("Every number by kind of text", tuple(_table(results, model, n) for n in shown)),
    )


def _statement(results: AuditResults, model: str, of: KindNumber) -> Statement:
    """What is hit harder than all others in which twins, where that is sure."""
    found = hit_harder(results, model, of)
    metric = results.metrics[of.name]
    rows = [
        row
        for twin in results.measured(model)
        for row in rows_of(results, model, twin.compression, of).values()
    ]
    if not found and not any(tested(row) for row in rows):
        return Statement(
            "Whether a kind of text is hit harder than the others was not tested.",
            f"It takes {FEWEST} documents of the kind and of all others, and --interval jackknife: "
            "drawn documents give intervals and no p, and of as many intervals as there are kinds "
            "and twins some miss 0 by chance.",
        )
    if not found:
        return Statement(
            "No kind of text is surely hit harder than the others together.",
            f"By {of.title}, tested in every twin and kind at once.",
        )
    title = "; ".join(
        f"“{kind}” {'' if at else 'is hit harder than the rest '}in "
        + ", ".join(twin for twin, *_ in where)
        for at, (kind, where) in enumerate(found.items())
    )
    numbers = " ".join(
        f"{twin}, {kind}: {told(row, noise, metric)}"
        for kind, ((twin, row, noise), *_) in found.items()
    )
    return Statement(f"{title}.", f"{of.title[0].upper() + of.title[1:]}. {numbers}")


def _kinds(results: AuditResults, model: str, of: KindNumber) -> Table:
    """How much there is of each kind, and how well the reference reads it."""
    found: dict[str, tuple[str, ...]] = {}
    for twin in results.measured(model):
        levels = rows_of(results, model, twin.compression, PERPLEXITY)
        for kind, row in rows_of(results, model, twin.compression, of).items():
            found.setdefault(kind, (kind, f"{row['documents']:,}", margin(levels.get(kind))))
    columns = (
        Column("kind"),
        Column("documents", numeric=True),
        Column("perplexity of the reference", numeric=True),
    )
    return Table(
        columns,
        tuple(found.values()),
        f"Of fewer than {FEWEST} documents there is no interval and no test. A kind that the "
        "reference reads badly is not the same as one that compression hits: the differences "
        "below are between twin and reference.",
    )


def _figure(
    results: AuditResults, model: str, marks: Marks, shown: list[KindNumber]
) -> Figure | Prose:
    panels = [panel for of in shown if (panel := _panel(results, model, marks, of))]
    if not panels:
        return Prose("No number has a value in any kind of text.")
    return Figure(
        name=f"{results.prefix(model)}categories",
        title="What was lost, by kind of text",
        key=(
            "Filled: a compression. Hollow grey, with the shape of its compression: weight noise "
            "of the same size. Bars: 95 % intervals, the document the unit."
        ),
        strips=(Strip("", tuple(panels)),),
        caption=(
            "A kind differs from the others where the table below has a q of 0.05 or less; bars "
            "that overlap say nothing of it."
        ),
        legend=tuple((marks[t.compression], t.compression) for t in results.measured(model)),
        controls=beside(results, model),
        across=2,
    )


def _panel(results: AuditResults, model: str, marks: Marks, of: KindNumber) -> Panel | None:
    twins = [twin.compression for twin in results.measured(model)]
    found = [
        (row, kind, twin, role)
        for twin in twins
        for role, who in pair(results, model, twin)
        for kind, row in rows_of(results, model, who, of).items()
    ]
    if not found:
        return None
    metric = results.metrics[of.name]
    axis = fit(metric, [row for row, *_ in found], [metric.intact])
    kinds = list(dict.fromkeys(kind for _, kind, *_ in found))
    x = channel("x:O", title=None, sort=kinds, axis=having(labelAngle=-30, labelLimit=120))
    layers = [*line_layers(axis), *mark_layers(axis, twins, marks, x, where="kind of text")]
    points = [point(axis, row, kind, who=twin, kind=role) for row, kind, twin, role in found]
    points += lines(axis, {"intact": metric.intact})
    return Panel(of.title, frame(axis, layers, HEIGHT), tuple(points))


def _table(results: AuditResults, model: str, of: KindNumber) -> Table:
    """Every twin and kind: the number, all others, noise, chance, and whether it differs."""
    metric = results.metrics[of.name]
    rows = [
        _row(twin.compression, row, noise.get(kind), metric.unit)
        for twin in results.measured(model)
        for noise in (_noise(results, model, twin.compression, of),)
        for kind, row in rows_of(results, model, twin.compression, of).items()
    ]
    titles = ("documents", of.title, "all others", "difference", "under noise", "chance")
    return Table(
        (Column("compression"), Column("kind"), *(Column(t, numeric=True) for t in titles)),
        tuple(rows),
        "In brackets: 95 % intervals. q: that a kind differs from all others together, of all "
        "kinds and twins tested at once.",
    )


def _noise(results: AuditResults, model: str, compression: str, of: KindNumber) -> dict[str, Row]:
    noise = results.noise(model, compression)
    return rows_of(results, model, noise, of) if noise else {}


def _row(compression: str, row: Row, noise: Row | None, unit: str) -> tuple[str, ...]:
    ends = {"low": row["difference_low"], "high": row["difference_high"]}
    difference = {"value": row["difference"], "reason": row["unsaid"], **ends}
    sure = "" if row["q"] is None else f", q = {probability(row['q'])}"
    return (
        compression,
        row["category"],
        f"{row['documents']:,}",
        amount(row, unit),
        "–" if row["others"] is None else figure(row["others"], unit),
        "–" if row["difference"] is None else f"{apart(difference, unit)}{sure}",
        "–" if noise is None else amount(noise, unit),
        "–" if row["chance"] is None else figure(row["chance"], unit),
    )
