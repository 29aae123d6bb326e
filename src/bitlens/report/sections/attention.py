"""The section on attention: which heads of a twin look elsewhere than the reference's."""

from collections.abc import Iterator, Mapping

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.channels import channel
from bitlens.report.charts.charts import beside, frame, only, pair
from bitlens.report.charts.depth import across
from bitlens.report.charts.grid import INTERVAL, axes, darker, tips
from bitlens.report.charts.scatter import Heads, against, heads
from bitlens.report.page.parts import (
    Column,
    Figure,
    Panel,
    Part,
    Point,
    Prose,
    Section,
    Spec,
    Statement,
    Strip,
    Table,
    Tabs,
)
from bitlens.report.registration import Framed, Marks, family, section
from bitlens.report.sections.patterns import head_patterns
from bitlens.report.text.differences import way
from bitlens.report.text.extremes import each
from bitlens.report.text.numbers import amount, figure, margin, probability
from bitlens.report.twins import farthest

LEVELS = {
    "attention.entropy": "Entropy: how spread out a head's attention is",
    "attention.sink": "Sink: share of a head's attention on the first position",
}
EXTREMES = 5
"""So many of the most and of the least affected heads are named."""
MUTED = "#e3e3e3"
DECADES = 5
"""The colours span at most so many powers of ten below the largest value."""


@section("attention", "Attention", after="layers", analysis="attention")
def attention(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """One model's heat maps, its most and least affected heads, and what became of their levels."""
    twins = [twin.compression for twin in results.measured(model)]
    found = {twin: heads(results, model, twin, "attention.jsd") for twin in twins}
    found = {twin: known for twin, known in found.items() if known}
    if not found:
        return (Prose("Attention was not compared: the analysis `attention` was not run."),)
    parts: list[Part] = [
        *_found(found),
        Prose(
            "Reference and twin read the same texts; at every position each head spreads its "
            "attention over the positions before. The Jensen-Shannon divergence (JSD) says how "
            "far apart the two spreads are: 0 where nothing changed, ln 2 = 0.69 nats where they "
            "share no position. Head 1.2 is head 2 of block 1, both counted from 0."
        ),
        _maps(results, model, found),
        Section(
            f"{results.prefix(model)}attention-heads",
            "The heads that moved most, and least",
            (
                Tabs(
                    tuple((t, (_extremes(results, model, t, found[t]),)) for t in found),
                    farthest(results, model, list(found)),
                ),
            ),
        ),
        *head_patterns(results, model),
    ]
    return (*parts, *_levels(results, model, marks))


def _levels(results: AuditResults, model: str, marks: Marks) -> list[Part]:
    """What became of each head's entropy and of what it gives the first position."""
    strips = tuple(
        Strip(title, tuple(panels))
        for metric, title in LEVELS.items()
        if (panels := against(results, model, metric, marks))
    )
    if not strips:
        return []
    return [
        Figure(
            name=f"{results.prefix(model)}attention-levels",
            opens="head",
            title="How far heads spread out, and how much they lean on the first position",
            key=(
                "Each filled mark is a head, with 95 % intervals: reference across, twin up. "
                "Hollow grey: the same head under weight noise of the same size. Dashed: "
                "where nothing changed."
            ),
            strips=strips,
            caption="Above the line: more in the twin than in the reference. Below: less.",
            controls=beside(results, model),
            across=across(max(len(strip.panels) for strip in strips)),
        )
    ]


def _found(found: Mapping[str, Heads]) -> tuple[Statement, ...]:
    """Whose attention moved most."""
    most = {twin: max(known, key=lambda place: known[place]["value"])
            for twin, known in found.items()}  # fmt: skip
    rows = {twin: found[twin][place] for twin, place in most.items()}
    order = {twin: rows[twin] for twin in sorted(rows, key=lambda twin: rows[twin]["value"])}
    twin = list(order)[-1]
    whose = "every twin" if len(most) > 1 and len(set(most.values())) == 1 else twin
    block, head = most[twin]
    told = f"The attention of head {block}.{head} moved most, in {whose}"
    return (Statement(told, f"JSD of the head that moved most: {each(order, 'nats')}."),)


def control(results: AuditResults, model: str, twin: str) -> tuple[str, Heads]:
    """What a twin's heads are compared with: its noise, else the cast; and its divergences."""
    for name in (results.noise(model, twin), results.cast(model)):
        if name and (found := heads(results, model, name, "attention.jsd")):
            return name, found
    return "", {}


def _maps(results: AuditResults, model: str, found: Mapping[str, Heads]) -> Figure:
    columns = {
        twin: {
            who: heads(results, model, who, "attention.jsd")
            for _, who in pair(results, model, twin)
        }
        for twin in found
    }
    values = [r["value"] for maps in columns.values() for h in maps.values() for r in h.values()]
    chances = [r["chance"] for h in found.values() for r in h.values() if r["chance"] is not None]
    empty = _frame(results, model, max(values))
    strips = []
    for twin, maps in columns.items():
        name, others = control(results, model, twin)
        panels = [
            Panel(
                "this compression" if who == twin else "weight noise of the same size",
                empty,
                tuple(_cells(results, who, rows, others=others if who == twin else {}, name=name)),
            )
            for who, rows in maps.items()
            if rows
        ]
        strips.append(Strip(twin, tuple(panels)))
    stored = any(results.table(model, twin, "attention", "patterns") for twin in found)
    opens = " A click on a cell shows where that head looks." if stored else ""
    told = f" Heads of unrelated texts differ by {_range(chances)}." if chances else ""
    return Figure(
        name=f"{results.prefix(model)}attention-jsd",
        opens="head",
        title="How far each head's attention moved",
        key=(
            "One cell a head; darker is farther (JSD in nats, one logarithmic scale for all "
            "charts). Flat grey, in a compression's chart: not surely farther than noise of the "
            "same size moves it, by the test on the same documents (q above 0.05, all heads "
            "together; beside the cast, where no noise was run)."
        ),
        strips=tuple(strips),
        caption=f"Intact is 0.{told}{opens}",
        across=2,
    )


def _range(chances: list[float]) -> str:
    low, high = figure(min(chances)), figure(max(chances))
    return f"{low} nats (chance)" if low == high else f"{low} to {high} nats (chance)"


def _cells(results: AuditResults, who: str, rows: Heads, others: Heads, name: str) -> list[Point]:
    cells: list[Point] = []
    for (block, head), row in rows.items():
        other = others.get((block, head))
        contrast = results.contrast(row, name) if other else None
        known = {
            "value": row["value"],
            "low": row["low"],
            "high": row["high"],
            "chance": row["chance"],
            "control": other["value"] if other else None,
            "q": contrast["q"] if contrast else None,
        }
        cells.append(
            {
                "is": "head" if other is None or way(contrast) == "more" else "muted",
                "who": who,
                "item": f"{block}.{head}",
                "x": head,
                "block": block,
                "compared": name if other else None,
                **{k: float(f"{v:.5g}") for k, v in known.items() if v is not None},
            }
        )
    return cells


def _frame(results: AuditResults, model: str, top: float) -> Spec:
    facts = results.about(model)
    top = top or 1.0
    x, y = axes("head", range(facts["heads"]), range(facts["blocks"]))
    colour = darker(("JSD", "(nats)"), top, DECADES, ".0e")
    more = {"chance": "chance", "control": "control", "q": "q of the difference"}
    said = [
        *tips("head (block.head)", {"value": "JSD (nats)", **INTERVAL, **more}, ".3~g"),
        channel("compared:N", title="the control is"),
    ]
    layers = [
        only("muted").mark_rect(color=MUTED).encode(x=x, y=y, tooltip=said),
        only("head").mark_rect().encode(x=x, y=y, color=colour, tooltip=said),
    ]
    return frame(None, layers, max(90, min(15 * facts["blocks"], 420)))


def _extremes(results: AuditResults, model: str, twin: str, found: Heads) -> Table:
    order = sorted(found, key=lambda place: -found[place]["value"])
    few = len(order) <= 2 * EXTREMES
    chosen = order if few else [*order[:EXTREMES], *order[-EXTREMES:]]
    name, others = control(results, model, twin)
    moved = heads(results, model, twin, "attention.tv")
    beside = "the cast" if name and name == results.cast(model) else "noise"
    columns = (
        *("head", "moved", "JSD (nats)"),
        *(f"JSD under {beside}", f"ratio to {beside}", "q", "attention elsewhere"),
    )
    rows = tuple(
        (
            f"head {place[0]}.{place[1]}",
            "all heads" if few else "most" if number < EXTREMES else "least",
            amount(found[place]),
            amount(others[place]) if place in others else "–",
            _ratio(found[place], others.get(place)),
            _sure(results.contrast(found[place], name)),
            margin(moved.get(place), "share"),
        )
        for number, place in enumerate(chosen)
    )
    compared = f" The control is {name}." if name else " No control was run."
    caption = (
        "The heads whose attention moved most and least, with 95 % intervals."
        f"{compared} q: of the difference from it. Attention elsewhere: share of a head's "
        "attention that rests on other positions than in the reference (total variation)."
    )
    return Table(tuple(Column(c, c not in ("moved", "head")) for c in columns), rows, caption)


def _sure(contrast: Row | None) -> str:
    return "–" if contrast is None or contrast["q"] is None else probability(contrast["q"])


def _ratio(row: Row, other: Row | None) -> str:
    return figure(row["value"] / other["value"]) if other and other["value"] > 0 else "–"


@family(
    "Attention",
    section="attention",
    order=30,
    told="how much the heads look where they looked",
)
def patterns(results: AuditResults, model: str, who: str) -> Iterator[Framed]:
    """JSD of the attention patterns of each block; of other positions' patterns by chance."""
    for block, row in results.depth(model, who, "attention.jsd", kind="pattern", item=""):
        if row["chance"]:
            yield Framed(row=row, intact=0.0, chance=row["chance"], where=f"in block {block}")
