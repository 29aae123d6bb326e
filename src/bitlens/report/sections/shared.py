"""The section on shared losses: features that two twins lose both, between chance and ceiling."""

from collections.abc import Sequence

from bitlens.errors import visible
from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.channels import Channel, channel, having
from bitlens.report.charts.charts import beside, frame, only
from bitlens.report.charts.layers import Layer
from bitlens.report.charts.palette import CONTROL, INK, Mark
from bitlens.report.page.parts import (
    Column,
    Details,
    Figure,
    Ledger,
    Panel,
    Part,
    Point,
    Prose,
    Section,
    Statement,
    Strip,
    Table,
)
from bitlens.report.registration import Marks, section
from bitlens.report.text.numbers import amount, figure, margin, plain
from bitlens.results.counts import agreeing, count
from bitlens.results.insights.measured import SaeFeatures, measured
from bitlens.results.insights.shared import (
    THRESHOLDS,
    Interval,
    Shared,
    SharedLosses,
    foremost,
    pairs,
    with_noise,
)

MOST = 15
"""Pairs of a chart at most."""
DOT = Mark(INK, "circle", "●")
RANGE = Mark("#d9d9d9", "stroke", "▬")


@section("shared", "Shared losses", after="prediction")
def shared(results: AuditResults, model: str, _: Marks) -> tuple[Part, ...]:
    """One model's section; none where no features were measured."""
    found = measured(results.store, results.named(model))
    return overlaps(results, model, found) if found else ()


def overlaps(results: AuditResults, model: str, found: list[SaeFeatures]) -> tuple[Part, ...]:
    """A section for every SAE of one model."""
    told = Prose(
        "Which features does each twin lose, and are they the same? Jaccard: features lost in "
        "both, over those lost in either. Two numbers frame it: chance, if the one loss told "
        "nothing of the other, and the ceiling, if the smaller set lay wholly within the larger. "
        "Weak features die under any error, so much is shared without a common cause: a pair "
        "shares damage of its own only where it shares more than either does with weight noise of "
        "the other's size."
    )
    sections = []
    read = [(of, list(pairs(of))) for of in found]
    for number, (of, known) in enumerate(read):
        stem = f"{results.prefix(model)}shared-{number + 1}"
        title = f"SAE {visible(of.name)}"
        chosen = foremost(known)
        if not any(s.overlaps for s in chosen):
            why = "two twins that lose features, read on the same text"
            sections.append(Section(stem, title, (Prose(f"No pairs: it takes {why}."),)))
            continue
        parts: list[Part] = [table(known)]
        parts += _overlaps(results, model, of, known=known, stem=stem)
        parts.append(Details("Every pair at every threshold", (_ledger(known, stem),)))
        sections.append(Section(stem, title, tuple(parts)))
    return (*_found(read), told, *sections)


def _found(read: Sequence[tuple[SaeFeatures, Sequence[Shared]]]) -> tuple[Statement, ...]:
    """The two compressions whose losses at r = 0.9 have most in common beyond noise."""
    best: tuple[float, str, bool] | None = None
    for of, known in read:
        for pair in foremost(known):
            one = next((o for o in pair.overlaps if o.threshold == THRESHOLDS[0]), None)
            if pair.own_noise or one is None:
                continue
            noise = max(with_noise(pair, known, one.threshold), key=lambda j: j.value, default=None)
            if noise is None:
                continue
            told = f"{_label(pair)}, SAE {visible(of.name)}: Jaccard {amount(vars(one.jaccard))}"
            told += f", with noise at most {amount(vars(noise))}, by chance {plain(one.chance, 3)}."
            apart = one.jaccard.low > noise.high
            best = max(filter(None, (best, (one.jaccard.value - noise.value, told, apart))))
    if best is None:
        return ()
    text = (
        "Two compressions lose features in common that noise does not take"
        if best[2]
        else "No two compressions surely lose more of the same features than noise does"
    )
    return (Statement(text, best[1]),)


def _label(pair: Shared) -> str:
    a, b = pair.first, pair.second
    if pair.own_noise:
        return f"{visible(a.name if b.control else b.name)} and its noise"
    return f"{visible(a.name)} and {visible(b.name)}"


def table(known: Sequence[Shared]) -> Table:
    """The foremost pairs at r = 0.9."""
    rows = []
    for pair in foremost(known):
        for one in pair.overlaps:
            if one.threshold == THRESHOLDS[0]:
                noise = [plain(j.value, 3) for j in with_noise(pair, known, one.threshold)]
                rows.append((_label(pair), *_cells(pair, one, " and ".join(noise) or "–")))
    return Table(
        (Column("twins"), *(Column(title, numeric=True) for title in TITLES)),
        tuple(rows),
        "A feature is lost where its r is at most 0.9. lost: in the first twin and in the second. "
        "with noise: Jaccard of the first with noise of the second's size, and of the second with "
        "noise of the first's; beside a compression and its noise, of two draws of it. phi: "
        "correlation of the two losses, 0 by chance. Spearman: rank correlation of damage, 1 − r. "
        "other text: Jaccard of what the one loses on one half of the documents with what the "
        "other loses on the other half; itself: the same of each twin with itself. Where two "
        "twins lose about as many and these are alike, one tells of the other what it tells of "
        "itself. ± is the longer half of a 95 % interval over features, near-duplicates drawn "
        "together; documents, the unit elsewhere, cannot be drawn from a table of features.",
    )


TITLES = (
    "lost",
    "Jaccard",
    "with noise",
    "chance",
    "ceiling",
    "phi",
    "Spearman",
    "other text",
    "itself",
)


def _cells(pair: Shared, one: SharedLosses, noise: str) -> list[str]:
    lost = " and ".join(figure(round(p, 4), "share") for p in (one.first, one.second))
    return [
        lost,
        _margin(one.jaccard),
        noise,
        plain(one.chance, 3),
        plain(one.ceiling, 3),
        _margin(one.phi),
        _margin(pair.spearman),
        "–" if one.crossed is None else plain(one.crossed, 3),
        "–" if one.itself is None else plain(one.itself, 3),
    ]


def _margin(of: Interval | None) -> str:
    return margin(None if of is None else vars(of))


def _overlaps(
    results: AuditResults,
    model: str,
    of: SaeFeatures,
    known: Sequence[Shared],
    stem: str,
) -> list[Part]:
    panels = []
    left_out = 0
    for threshold in THRESHOLDS:
        rows = [(pair, one) for pair in foremost(known) for one in pair.overlaps
                if one.threshold == threshold]  # fmt: skip
        rows.sort(key=lambda row: -row[1].ceiling)
        left_out = max(left_out, len(rows) - MOST)
        if rows[:MOST]:
            panels.append(_panel(rows[:MOST], known))
    are = agreeing(left_out, "is", "are")
    more = f" {count(left_out, 'pair')} of lower ceilings {are} left out." if left_out else ""
    return [
        Figure(
            name=f"{stem}-overlap",
            title=f"Do two twins lose the same features? {visible(of.name)}",
            key=(
                "Grey bar: from the Jaccard that chance gives to the highest that the two numbers "
                "of lost features allow. Dot: the pair, with its 95 % interval over features. "
                "Hollow: each of the two with weight noise of the other's size; beside a "
                "compression and its noise, two draws of that noise, where seeds differ."
            ),
            strips=(Strip("", tuple(panels)),),
            caption=(
                "A dot where the hollow one is: what is shared is what errors of these sizes "
                f"share whatever made them.{more}"
            ),
            legend=((DOT, "two twins"), (RANGE, "from chance to ceiling")),
            controls=beside(results, model),
            across=2,
        )
    ]


def _panel(rows: Sequence[tuple[Shared, SharedLosses]], known: Sequence[Shared]) -> Panel:
    points: list[Point] = []
    for pair, one in rows:
        label = _label(pair)
        points.append(_point("range", label, chance=one.chance, ceiling=one.ceiling))
        points.append(_point("pair", label, **vars(one.jaccard)))
        noise = with_noise(pair, known, one.threshold)
        points += [_point("noise", label, **vars(jaccard)) for jaccard in noise]
    labels = [_label(pair) for pair, _ in rows]
    empty = frame(None, _layers(labels), 24 * len(labels))
    return Panel(f"lost: r at most {rows[0][1].threshold:g}", empty, tuple(points))


def _point(kind: str, row: str, **numbers: float) -> Point:
    return {"is": kind, "row": row, **{name: round(v, 4) for name, v in numbers.items()}}


def _layers(labels: list[str]) -> list[Layer]:
    scale = having(domain=[0, 1], nice=False)
    y = channel(
        "row:N",
        title=None,
        sort=None,
        scale=having(domain=labels),
        axis=having(labelLimit=260, labelPadding=8, ticks=False, domain=False),
    )

    def x(field: str) -> Channel:
        return channel(f"{field}:Q", title="Jaccard", scale=scale, axis=having(tickCount=5))

    def told(**fields: str) -> list[Channel]:
        return [
            channel("row:N", title="twins"),
            *(channel(f"{f}:Q", title=title, format=".3f") for f, title in fields.items()),
        ]

    numbers = told(value="Jaccard", low="95 % interval from", high="95 % interval to")
    return [
        only("range")
        .mark_bar(color=RANGE.colour, height=12)
        .encode(
            x=x("chance"), x2="ceiling:Q", y=y, tooltip=told(chance="chance", ceiling="ceiling")
        ),
        only("pair")
        .mark_rule(color=DOT.colour, strokeWidth=2)
        .encode(x=x("low"), x2="high:Q", y=y),
        only("pair")
        .mark_point(filled=True, size=60, opacity=1, color=DOT.colour)
        .encode(x=x("value"), y=y, tooltip=numbers),
        only("noise")
        .mark_point(filled=False, size=150, color=CONTROL, strokeWidth=1.7)
        .encode(x=x("value"), y=y, tooltip=numbers),
    ]


def _ledger(known: Sequence[Shared], stem: str) -> Ledger:
    rows = [
        (
            visible(pair.first.name),
            visible(pair.second.name),
            *map(
                _short,
                (
                    one.threshold,
                    one.first,
                    one.second,
                    one.jaccard.value,
                    one.jaccard.low,
                    one.jaccard.high,
                    one.chance,
                    one.ceiling,
                    None if one.phi is None else one.phi.value,
                    None if pair.spearman is None else pair.spearman.value,
                    one.crossed,
                    one.itself,
                ),
            ),
        )
        for pair in known
        for one in pair.overlaps
    ]
    titles = ("r at most", "lost, first", "lost, second", "Jaccard", "from", "to", "chance",
              "ceiling", "phi", "Spearman", "other text", "itself")  # fmt: skip
    return Ledger(
        stem,
        (Column("first"), Column("second"), *(Column(title, numeric=True) for title in titles)),
        tuple(rows),
        "Every two twins, controls too, that both lose features; of noise controls, only different "
        "draws.",
    )


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
