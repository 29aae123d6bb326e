"""Against size: what the models of a study keep, by how large they are, methods side by side."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import fit
from bitlens.report.charts.channels import channel, having
from bitlens.report.charts.charts import (
    HEIGHT,
    frame,
    line_layers,
    lines,
    mark_layers,
    pair,
    point,
)
from bitlens.report.charts.palette import NOISE
from bitlens.report.page.parts import (
    Column,
    Figure,
    Panel,
    Part,
    Statement,
    Strip,
    Table,
)
from bitlens.report.registration import Marks
from bitlens.report.saes import saes_of
from bitlens.report.text.differences import LEVEL
from bitlens.report.text.numbers import amount, margin, plain, probability
from bitlens.results.counts import count
from bitlens.results.records import REFERENCE
from bitlens.results.stats.multiple import false_discovery
from bitlens.results.stats.trend import FEWEST, trend

HEADS = {"induction": "induction", "previous": "previous-token"}
KEPT = 40
"""Per cent of attention above which a head counts, as on the page of each model."""

Find = Callable[[AuditResults, str, str], Row | None]


@dataclass(frozen=True, kw_only=True)
class Against:
    """A number that is told of every model."""

    name: str
    """`analysis.metric`."""
    title: str
    find: Find


def scaling(results: AuditResults, marks: Marks) -> tuple[Part, ...]:
    """Whether it goes with size, a chart a number, and the table; nothing of fewer than two models
    of different size that have a number."""
    models = sorted(results.models, key=lambda model: _size(results, model))
    known = {of: len(_have(results, models, of)) for of in _numbers(results)}
    shown = [of for of, there in known.items() if there > 1]
    if not shown or len({_size(results, model) for model in models}) < 2:
        return ()
    return (
        _statement(results, models, shown),
        _figure(results, models, marks, shown),
        _table(results, models, [of for of, there in known.items() if there]),
    )


def _size(results: AuditResults, model: str) -> int:
    return int(results.about(model)["parameters"])


def _numbers(results: AuditResults) -> list[Against]:
    """What is told: the outputs, heads of each kind, and features."""

    def at(metric: str, site: str) -> Find:
        return lambda results, model, who: results.find(model, who, metric, site=site)

    def of_features(results: AuditResults, model: str, who: str) -> Row | None:
        saes = saes_of(results, model)
        return saes[len(saes) // 2].find(results, model, who, "features.survived") if saes else None

    found = [Against(name="behaviour.kl", title="KL divergence", find=at("behaviour.kl", "logits"))]
    for kind, told in HEADS.items():
        for metric, title in (
            (f"{kind}_kept_{KEPT}", f"{told} heads kept"),
            (f"{kind}_rank", f"{told} scores, rank correlation"),
        ):
            name = f"heads.{metric}"
            found.append(Against(name=name, title=title, find=at(name, "pattern")))
    found.append(Against(name="features.survived", title="features kept", find=of_features))
    return [of for of in found if of.name in results.metrics]


def _have(results: AuditResults, models: list[str], of: Against) -> list[str]:
    """The models with the number in some twin."""
    return [
        model
        for model in models
        if any(of.find(results, model, t.compression) for t in results.measured(model))
    ]


def _compressions(results: AuditResults, models: list[str]) -> list[str]:
    """What was measured of some model, in the order in which it was asked for."""
    return list(dict.fromkeys(t.compression for m in models for t in results.measured(m)))


def _series(
    results: AuditResults, models: list[str], compression: str, of: Against
) -> list[tuple[int, Row]]:
    """Size and number of every model that has it in a compression, the smallest first."""
    rows = ((_size(results, m), of.find(results, m, compression)) for m in models)
    return [(size, row) for size, row in rows if row is not None]


def _statement(results: AuditResults, models: list[str], shown: list[Against]) -> Statement:
    """Which numbers surely go with size, of all that were tested; of too few models, that."""
    tested = []
    for of in shown:
        for compression in _compressions(results, models):
            series = _series(results, models, compression, of)
            found = trend([float(size) for size, _ in series], [row["value"] for _, row in series])
            if found:
                tested.append((of, compression, len(series), *found))
    if not tested and len(models) >= FEWEST:
        return Statement(
            "No number can be tested against the models' size.",
            f"Each is alike in all models, or there in fewer than {FEWEST}.",
        )
    if not tested:
        return Statement(
            f"{count(len(models), 'model')} are too few for a trend with size.",
            f"At least {FEWEST} are wanted: of fewer, no order of them is rare enough to be more "
            "than chance. Each model's own numbers stand below with their intervals.",
        )
    q = false_discovery([p for *_, p in tested])
    sure = [(one, at) for one, at in zip(tested, q, strict=True) if at is not None and at <= LEVEL]
    if not sure:
        return Statement(
            "No number surely goes with the models' size.",
            f"{count(len(tested), 'number')} tested, by rank correlation over models.",
        )
    said = "; ".join(
        f"{of.title} in {compression}: rank correlation {plain(rho, 2)} over {n} models, "
        f"q = {probability(at)}"
        for (of, compression, n, rho, _), at in sure
        if at is not None
    )
    # The surest is named; the first of the list is no finding.
    (of, compression, _, rho, _), _ = min(sure, key=lambda one: one[0][-1])
    way = "grows" if rho > 0 else "falls"
    return Statement(
        f"{of.title[0].upper() + of.title[1:]} {way} with size in {compression}.", f"{said}."
    )


def _figure(results: AuditResults, models: list[str], marks: Marks, shown: list[Against]) -> Figure:
    compressions = _compressions(results, models)
    panels = tuple(_panel(results, models, marks, of) for of in shown)
    noise = any(results.noise(m, c) for m in models for c in compressions)
    return Figure(
        name="scaling",
        title="What is kept, by the size of the model",
        key=(
            "Filled: a compression, a mark a model. Hollow grey, with its shape: weight noise of "
            "the same size. Bars: 95 % intervals."
        ),
        strips=(Strip("", panels),),
        caption=(
            "Models differ in more than size: in what they were trained on, and in how well they "
            "read this text."
        ),
        legend=tuple((marks[name], name) for name in compressions),
        controls=((NOISE, "weight noise of the same size"),) if noise else (),
        across=2,
    )


def _panel(results: AuditResults, models: list[str], marks: Marks, of: Against) -> Panel:
    found = [
        (row, _size(results, model) / 1e6, twin.compression, role)
        for model in models
        for twin in results.measured(model)
        for role, who in pair(results, model, twin.compression)
        if (row := of.find(results, model, who)) is not None
    ]
    metric = results.metrics[of.name]
    axis = fit(metric, [row for row, *_ in found], [metric.intact])
    sizes = [size for _, size, *_ in found]
    x = channel(
        "x:Q",
        title="million parameters, log scale",
        scale=having(type="log", domain=[0.8 * min(sizes), 1.25 * max(sizes)], nice=False),
        axis=having(values=sorted({float(f"{size:.3g}") for size in sizes}), format="~g"),
    )
    names = _compressions(results, models)
    layers = [*line_layers(axis), *mark_layers(axis, names, marks, x, where="million parameters")]
    points = [point(axis, row, size, who=twin, kind=role) for row, size, twin, role in found]
    points += lines(axis, {"intact": metric.intact})
    return Panel(of.title, frame(axis, layers, HEIGHT), tuple(points))


def _table(results: AuditResults, models: list[str], shown: list[Against]) -> Table:
    """A row a model and compression, the smallest model first."""
    columns = (
        Column("model"),
        Column("parameters", numeric=True),
        Column("compression"),
        *(Column(of.title, numeric=True) for of in shown),
        Column("KL of noise", numeric=True),
    )
    return Table(
        columns,
        tuple(_rows(results, models, shown)),
        "±: 95 % intervals, over documents; those of heads over random sequences. A share of heads "
        f"is of those above {KEPT / 100:g} in the reference: how many there are stands before it. "
        "Features are those of the SAE that is read in the middle of its model's SAEs. A dash: not "
        "measured, or the model has no such head.",
    )


def _rows(
    results: AuditResults, models: list[str], shown: list[Against]
) -> Iterator[tuple[str, ...]]:
    for model in models:
        for twin in results.measured(model):
            noise = results.noise(model, twin.compression)
            beside = results.find(model, noise, "behaviour.kl") if noise else None
            yield (
                model,
                f"{_size(results, model) / 1e6:,.3g} M",
                twin.compression,
                *(_cell(results, model, twin.compression, of) for of in shown),
                "–" if beside is None else margin(beside),
            )


def _cell(results: AuditResults, model: str, compression: str, of: Against) -> str:
    row = of.find(results, model, compression)
    if row is None:
        return "–"
    metric = results.metrics[of.name]
    kind = next((kind for kind in HEADS if of.name == f"heads.{kind}_kept_{KEPT}"), None)
    if kind is None:
        return margin(row, metric.unit)
    above = _above(results, model, compression, kind)
    return f"{round(row['value'] * above)}/{above} ({amount(row, metric.unit)})"


def _above(results: AuditResults, model: str, compression: str, kind: str) -> int:
    """The reference's heads of a kind above the threshold on both sets of sequences."""
    rows = results.table(model, compression, "heads", "heads")
    return sum(
        row["kind"] == kind and min(row["choosing"], row[REFERENCE]) > KEPT / 100 for row in rows
    )
