"""The page of a comparison: who is ahead, by how much, at what cost, and what cannot be said."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from bitlens.report.charts.palette import NOISE, marks
from bitlens.report.charts.pareto import Offer, against_cost
from bitlens.report.comparison.compared import Compared, Standing
from bitlens.report.headlines import title
from bitlens.report.page.parts import (
    Column,
    Command,
    Details,
    Figure,
    Ledger,
    Page,
    Panel,
    Part,
    Prose,
    Section,
    Statement,
    Strip,
    Table,
)
from bitlens.report.registration import Marks
from bitlens.report.status import status
from bitlens.report.text.differences import LEVEL, surely, way
from bitlens.report.text.numbers import amount, margin, plain, points, size
from bitlens.results.comparison import Contender, Measure
from bitlens.results.counts import agreeing, count
from bitlens.results.files.home import without_home

WHOLE = 6
"""Up to so many twins every pair stands in the table; of more, neighbours in the ranking."""
PANELS = 6
"""So many numbers have a chart each."""
COSTS = {"bits per weight": "bits", "size, MB": "bytes"}
KEY = (
    "Filled: a twin with its 95 % interval. Hollow grey: weight noise of the same size as its "
    "error. Dashed: intact. "
)


def page(compared: Compared) -> Page:
    """Everything, as parts."""
    drawn = marks([one.label for one in compared.contenders])
    sections = (
        Section.stating("ranking", "Ranking", _ranking(compared)),
        Section("cost", "Quality against bits and size", _cost(compared, drawn)),
        Section.stating("contrasts", "Twin against twin", _contrasts(compared)),
        Section("refused", "What was not compared", tuple(map(Prose, refusals(compared)))),
        Section("runs", "The runs", _runs(compared)),
    )
    return Page(
        f"{count(len(compared.contenders), 'twin')} of {count(len(compared.audits), 'run')}",
        f"Ranked by {named(compared, compared.by)}. Every difference is taken on the same "
        "documents, or not at all.",
        tuple(part for part in sections if part.parts),
        tuple(drawn.items()),
    )


def named(compared: Compared, measure: Measure) -> str:
    """A measure in words, with its place where it has several."""
    alike = [one for one in compared.measures if one.name == measure.name]
    place = f" at {measure.site}" if len(alike) > 1 else ""
    item = f", {measure.item}" if len({one.site for one in alike}) < len(alike) else ""
    return f"{title(measure.name)}{place}{item}"


def headline(compared: Compared) -> str:
    """Who is ahead, as far as it is sure."""
    if not compared.standings:
        return "Nobody can be ranked"
    first = compared.standings[0]
    leaders = [one.contender.label for one in first if one.first == 1]
    by = named(compared, compared.by)
    if len(first) == 1:
        return f"{leaders[0]} has nobody to be ranked with by {by}"
    if len(leaders) == 1:
        return f"{leaders[0]} is surely the best of {len(first)} by {by}"
    if len(leaders) == len(first):
        return f"No one of {len(first)} is surely ahead by {by}"
    return f"{count(len(leaders), 'twin')} of {len(first)} may be the best by {by}"


def ranking_table(
    compared: Compared, group: Sequence[Standing], measures: Sequence[Measure]
) -> Table:
    """A row a twin, the best first: its rank, what it takes, its word, and these numbers."""
    titles = ("bits", "size", *(named(compared, one) for one in measures))
    rows = tuple(
        (
            standing.contender.label,
            standing.rank,
            word(compared, standing.contender),
            *_facts(standing.contender),
            *(
                margin(compared.estimate(standing.contender, one), one.metric.unit)
                for one in measures
            ),
        )
        for standing in group
    )
    return Table(
        (
            Column("twin"),
            Column("rank"),
            Column("word"),
            *(Column(title, numeric=True) for title in titles),
        ),
        rows,
    )


def word(compared: Compared, of: Contender) -> str:
    """What its own run's page calls it."""
    return status(compared.audit(of), of.model, of.twin).word


def _facts(of: Contender) -> tuple[str, str]:
    bits, taken = of.twin.bits, of.twin.bytes
    return ("–" if bits is None else plain(bits, 2), "–" if taken is None else size(taken))


def _ranking(compared: Compared) -> tuple[Part, ...]:
    parts: list[Part] = [Statement(headline(compared))]
    measures = [compared.by, *(one for one in compared.measures if one != compared.by)]
    for group in compared.standings:
        parts.append(ranking_table(compared, group, measures))
    parts.append(
        Prose(
            "A rank is a range: before a twin stand those that are surely better, after it those "
            f"that are surely worse, by the difference on the same documents (q at most {LEVEL:g}, "
            "over all pairs together). ± is the longer half of a 95 % interval; two intervals may "
            "overlap and the difference be sure all the same."
        )
    )
    if len(compared.standings) > 1:
        told = "Each table holds twins that can be paired; between tables there is no rank."
        parts.append(Prose(told))
    if len({one.model for one in compared.contenders}) > 1:
        told = "Twins of several models: each is beside its own reference. How good the models "
        parts.append(Prose(f"{told}are, and not how well they are kept, perplexity alone says."))
    unranked = [
        one.label for one in compared.contenders if compared.estimate(one, compared.by) is None
    ]
    if unranked:
        told = agreeing(len(unranked), "has", "have")
        by = named(compared, compared.by)
        parts.append(Prose(f"{', '.join(unranked)} {told} no {by} and no rank."))
    parts += [Prose(f"{one.label}: {one.remark}") for one in compared.contenders if one.remark]
    parts += map(Prose, compared.pairings.namesakes())
    return tuple(parts)


def _cost(compared: Compared, drawn: Marks) -> tuple[Part, ...]:
    one_text = len(compared.standings) == 1
    strips = []
    for across, attribute in COSTS.items():
        panels = [
            panel
            for measure in compared.measures[:PANELS]
            if (panel := _panel(compared, measure, drawn, across, attribute, one_text))
        ]
        if panels:
            strips.append(Strip(f"Against {across}", tuple(panels)))
    if not strips:
        return ()
    stairs = "Grey stairs: the best reached with at most so much. " if one_text else ""
    figure = Figure(
        name="cost",
        title="What each twin gives for its bits and its size",
        key=f"{KEY}{stairs}".strip(),
        strips=tuple(strips),
        caption="" if one_text else "Without stairs: not all of these twins can be paired.",
        legend=tuple((drawn[one.label], one.label) for one in compared.contenders),
        controls=((NOISE, "weight noise of the same size"),),
    )
    return (figure,)


def _panel(
    compared: Compared,
    measure: Measure,
    drawn: Marks,
    across: str,
    attribute: str,
    one_text: bool,
) -> Panel | None:
    offers = []
    for one in compared.contenders:
        cost, row = getattr(one.twin, attribute), compared.estimate(one, measure)
        if cost is None or row is None:
            continue
        audit = compared.audit(one, measure.analysis)
        noise = audit.noise(one.model, one.twin.compression)
        place = {"site": measure.site, "item": measure.item}
        beside = audit.find(one.model, noise, measure.name, **place) if noise else None
        cost = cost / 1e6 if attribute == "bytes" else cost
        offers.append(Offer(who=one.label, cost=cost, row=row, noise=beside))
    if not offers:
        return None
    name = named(compared, measure)
    return against_cost(
        measure.metric, offers, drawn, title=name, across=across, comparable=one_text
    )


def _contrasts(compared: Compared) -> tuple[Part, ...]:
    if not compared.rows:
        return ()
    few = len(compared.contenders) <= WHOLE
    told = "Every pair" if few else "Neighbours in the ranking"
    by = named(compared, compared.by)
    titles = ("first", "second", "first minus second", "surely", "q")
    table = Table(
        tuple(Column(title) for title in titles),
        tuple(_difference(compared, row) for row in _foremost(compared, few)),
        f"{told}, by {by}. The interval and the test are of the difference on the same documents, "
        "group by group.",
    )
    mine = compared.of_measure(compared.by)
    apart = sum(bool(way(row)) for row in mine)
    found = Statement(f"{apart} of {count(len(mine), 'pair')} surely differ by {by}")
    return (found, table, Details("Every pair and every number", (_ledger(compared),)))


def _foremost(compared: Compared, few: bool) -> list[dict[str, object]]:
    mine = compared.of_measure(compared.by)
    if few:
        return mine
    neighbours = {
        frozenset((a.contender.label, b.contender.label))
        for group in compared.standings
        for a, b in pairwise(group)
    }
    return [row for row in mine if frozenset((row["first"], row["second"])) in neighbours]


def _difference(compared: Compared, row: dict[str, object]) -> tuple[str, ...]:
    unit = compared.by.metric.unit
    estimate = {**row, "value": row["difference"]}
    text = points(estimate) if unit == "share" else amount(estimate, unit)
    sure = {"more": "first is higher", "less": "first is lower", "": "neither"}[way(row)]
    return str(row["first"]), str(row["second"]), text, sure, surely(row).removeprefix("q = ")


def _ledger(compared: Compared) -> Ledger:
    names = ("first", "second", "analysis", "metric", "site", "item")
    numbers = ("difference", "low", "high", "p", "q", "documents")
    return Ledger(
        "contrasts",
        (
            *(Column(name) for name in names),
            *(Column(name, numeric=True) for name in numbers),
        ),
        tuple(tuple(row[name] for name in (*names, *numbers)) for row in compared.rows),
        "difference: first minus second, in the metric's unit; low and high: its 95 % interval.",
    )


def refusals(compared: Compared, analysis: str = "") -> list[str]:
    """Why pairs have no difference, alike reasons together; and twins without numbers.
    `analysis`: of one alone."""
    told = list(_not_run(compared, analysis))
    alike: dict[tuple[str, str], list[str]] = {}
    for one in compared.refused:
        if one.analysis == (analysis or one.analysis):
            pair = f"{one.first.label} and {one.second.label}"
            alike.setdefault((one.analysis, one.reason), []).append(pair)
    for (name, reason), pairs in alike.items():
        more = f", and {count(len(pairs) - 3, 'pair')} more" if len(pairs) > 3 else ""
        told.append(f"{name}: {reason}. {'; '.join(pairs[:3])}{more}.")
    for name, audit in compared.audits.items():
        for model in audit.models:
            told += [
                f"{name}: {twin.compression} of {model} failed: {twin.reason}"
                for twin in audit.twins(model)
                if twin.status == "failed"
            ]
    return told


def _not_run(compared: Compared, analysis: str) -> Iterator[str]:
    """Which analyses some of the twins lack."""
    for name in dict.fromkeys(one.analysis for one in compared.measures):
        lacking = [one.label for one in compared.contenders if name not in one.cells]
        if lacking and name == (analysis or name):
            yield f"{name} was not run for {', '.join(lacking)}."


def _runs(compared: Compared) -> tuple[Part, ...]:
    titles = ("run", "model", "weights", "text", "documents", "tokens", "token hash", "bitlens")
    rows = []
    for name, audit in compared.audits.items():
        for corpus in audit.manifest["corpora"]:
            rows.append(
                (
                    name,
                    corpus["model"],
                    audit.about(corpus["model"])["fingerprint"][:12],
                    corpus["name"],
                    f"{corpus['documents']:,}",
                    f"{corpus['tokens']:,}",
                    corpus["token_hash"][:12],
                    audit.manifest["tool"]["version"],
                )
            )
    numeric = {"documents", "tokens"}
    columns = tuple(Column(title, numeric=title in numeric) for title in titles)
    commands = [
        part
        for name, audit in compared.audits.items()
        for part in (
            Prose(f"{name}, {audit.run['date'][:10]}: {without_home(str(audit.store.root))}"),
            Command(audit.manifest["command"]),
        )
    ]
    return (
        Table(columns, tuple(rows)),
        Details("Where they are and how they were made", tuple(commands)),
    )
