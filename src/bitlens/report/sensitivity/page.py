"""The page of a sensitivity run: which layers matter, and what to do about it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bitlens.errors import visible
from bitlens.report.charts.palette import Mark, marks
from bitlens.report.charts.pareto import Offer, against_cost
from bitlens.report.page.html import html
from bitlens.report.page.parts import (
    Column,
    Command,
    Details,
    Facts,
    Figure,
    Ledger,
    Page,
    Part,
    Prose,
    Section,
    Statement,
    Strip,
    Table,
    Tabs,
)
from bitlens.report.sensitivity import plans as shown
from bitlens.report.sensitivity.bars import ONLY, WAYS, bars
from bitlens.report.sensitivity.tables import adding, agreeing, ranked
from bitlens.report.text.numbers import amount, figure
from bitlens.results.counts import count
from bitlens.results.files.names import inside, sanitise
from bitlens.results.files.writing import write
from bitlens.results.plans.measured import NAME as PLAN_FILE
from bitlens.results.plans.measured import read_measured
from bitlens.results.sensitivity.folder import PLANS, REPORT, Sensitivity, read_run
from bitlens.results.sensitivity.measures import MEASURES
from bitlens.results.sensitivity.proxies import ABOUT, agreements
from bitlens.results.sensitivity.records import Effect

MOST = 20
"""Units in a chart."""


def build(folder: Path) -> Path:
    """Write the page of a run, with every plan that was made of it; its path. BitlensError for what
    is damaged."""
    run = _seen(read_run(folder))
    home = folder / PLANS
    made = sorted(path.parent for path in home.glob(f"*/{PLAN_FILE}")) if home.is_dir() else []
    found = [visible(read_measured(path)) for path in made]
    path = inside(folder, REPORT)
    write(path, html(page(run, found)).encode())
    return path


def _seen(run: Sensitivity) -> Sensitivity:
    """With every character that nobody can see written out: names are a model's."""

    def of(records: Any) -> list[Any]:
        return [type(one)(**visible(asdict(one))) for one in records]

    return replace(
        run,
        about=visible(run.about),
        units=of(run.units),
        sizes=of(run.sizes),
        effects=of(run.effects),
        proxies=of(run.proxies),
    )


def page(run: Sensitivity, made: list[dict[str, Any]]) -> Page:
    """Everything, as parts; `made`: the plans."""
    model, on = run.about["model"], run.about["on"]
    sections = [
        Section.stating("layers", "Which layers matter", tuple(_layers(run))),
        Section.stating("proxies", "Do other scores agree?", tuple(_proxies(run))),
    ]
    for plan in made:
        anchor = f"plan-{sanitise(plan['measure'])}-{plan['budget']:g}".replace(".", "-")
        title = f"What to do with {plan['budget']:g} bits a weight"
        sections.append(Section.stating(anchor, title, tuple(_plan(run, plan))))
    if not made:
        measure = run.about["asked"]["measures"][0]
        parts = (
            Prose("From these effects a plan can be made, audited and held against others:"),
            Command(f"bitlens plan {run.root.name} --budget 4.5 --protect {measure}"),
        )
        sections.append(Section("plan", "What to do", parts))
    sections += [
        Section("numbers", "All numbers", (_ledger(run),)),
        Section("method", "Method and limits", tuple(_method(run))),
    ]
    subtitle = (
        f"Each {run.about['asked']['units']} of {model['name']} compressed alone, and left out of "
        f"the compression alone, on {count(on['documents'], 'document')} of {on['text']}. bitlens "
        f"{run.about['tool']['version']}."
    )
    return Page(f"Which layers of {model['name']} matter", subtitle, tuple(sections))


def _layers(run: Sensitivity) -> Iterator[Part]:
    asked = run.about["asked"]
    first = asked["measures"][0]
    item = run.items(first)[0]
    if (said := advice(run, asked["compressions"][0], first, item)) is not None:
        yield said
    tabs = []
    for compression in asked["compressions"]:
        figures = [f for m in asked["measures"] for f in _figures(run, compression, m)]
        tabs.append((compression, tuple(figures)))
    yield Tabs(tuple(tabs))
    yield adding(run)


def advice(run: Sensitivity, compression: str, measure: str, item: str) -> Statement | None:
    """The unit that matters most, and what it would cost and bring to leave it as it is."""
    inside = {unit.name: unit for unit in run.units if unit.block is not None}
    order = [e for e in ranked(run, compression, measure, item) if e.unit in inside]
    if not order or order[0].value is None:
        return None
    first = order[0]
    whole = run.of("whole", measure, item)[compression, ""]
    back = run.of("all but", measure, item).get((compression, first.unit))
    metric = MEASURES[measure].metric
    numbers = (
        f"Alone it costs {measure} {amount(asdict(first), metric.unit)}; everything together "
        f"{amount(asdict(whole), metric.unit)}."
    )
    bits = run.bits(compression)
    if back is not None and back.value is not None and whole.value:
        unit = inside[first.unit]
        total = sum(one.parameters for one in inside.values())
        cost = (run.about["model"]["bits"] - bits[first.unit]) * unit.parameters / total
        share = {
            name: None if (end := getattr(back, name)) is None else end / whole.value
            for name in ("value", "low", "high")
        }
        numbers += (
            f" Keeping it as it is costs {figure(cost)} bits a weight over the blocks and brings "
            f"back {amount({**share, 'reason': back.reason}, 'share')} of that."
        )
    return Statement(f"{_capital(first.unit)} matters most under {compression}", numbers)


def _figures(run: Sensitivity, compression: str, measure: str) -> Iterator[Figure]:
    metric = MEASURES[measure].metric
    for item in run.items(measure):
        order = ranked(run, compression, measure, item)
        back = run.of("all but", measure, item)
        pairs: list[tuple[Effect, Effect | None]] = [
            (e, back.get((compression, e.unit))) for e in order[:MOST] if e.value is not None
        ]
        if not pairs:
            continue
        whole = run.of("whole", measure, item)[compression, ""]
        rest = f" {len(order) - len(pairs)} more matter less." if len(order) > len(pairs) else ""
        of = f" of {item}" if item else ""
        yield Figure(
            name=sanitise(f"units-{compression}-{measure}-{item}"),
            title=f"{metric.question}",
            key="Bars: the unit's effect; lines: its 95 % interval.",
            strips=(Strip("", (bars(f"{measure}{of}", metric, pairs),)),),
            caption=f"Under {compression}; where everything is compressed, "
            f"{amount(asdict(whole), metric.unit)}.{rest}",
            legend=tuple((mark, way) for way, mark in WAYS.items() if back or way == ONLY),
            across=1,
        )


def _proxies(run: Sensitivity) -> Iterator[Part]:
    found = [a for a in agreements(run) if a.value is not None]
    if not found:
        yield Prose("No score could be ranked: it takes four units.")
        return
    best = max(found, key=lambda a: (a.low if a.low is not None else -1.0, a.value or 0.0))
    worst = min(found, key=lambda a: a.value or 0.0)
    yield Statement(
        f"Of the scores that other tools rank layers by, {best.proxy} comes nearest",
        f"Rank correlation with the measured {best.measure} under {best.compression}: "
        f"{amount(asdict(best))}; the farthest is {worst.proxy}, {amount(asdict(worst))}, under "
        f"{worst.compression}.",
    )
    yield agreeing(run)
    yield Facts(tuple(ABOUT.items()))


def _plan(run: Sensitivity, plan: Mapping[str, Any]) -> Iterator[Part]:
    yield Statement(
        shown.finding(plan),
        shown.sentence(plan),
    )
    yield _sizes(run, plan)
    yield shown.candidates(plan)
    first = plan["candidates"][0]
    yield Prose("The plan as a compression, for audit and compress:")
    yield Command(f"bitlens compress {plan['model']} --with '{first['compression']}' --save DIR")
    told = tuple((one["tool"], (Command(one["text"]),)) for one in plan["fragments"])
    if told:
        yield Prose("The plan for other tools; the first line says what a tool cannot:")
        yield Tabs(told)
    yield Details("The format of every unit", (shown.formats(plan),))
    tried: Table | None = shown.swaps(plan)
    if tried is not None:
        yield Details("Swaps that were tried", (tried,))


def _sizes(run: Sensitivity, plan: Mapping[str, Any]) -> Figure:
    """Size against the protected measure: the same format everywhere, the plan, and the others."""
    measure = plan["measure"]
    metric = MEASURES[measure].metric
    offers = [
        Offer(who=one["name"], cost=one["bits"], row=one["measured"])
        for one in plan["candidates"]
        if one["measured"]["value"] is not None
    ]
    named = {offer.who for offer in offers}
    inside = {unit.name: unit.parameters for unit in run.units if unit.block is not None}
    total = sum(inside.values())
    for item in run.items(measure)[:1]:
        for (compression, _), whole in run.of("whole", measure, item).items():
            bits = run.bits(compression)
            known = whole.value is not None and inside.keys() <= bits.keys()
            if not known or f"uniform {compression}" in named:
                continue
            size = sum(bits[name] * n for name, n in inside.items()) / total
            offers.append(Offer(who=f"uniform {compression}", cost=size, row=asdict(whole)))
    drawn = _drawn([offer.who for offer in offers])
    panel = against_cost(
        metric, offers, drawn, title=measure, across="bits per weight", comparable=True
    )
    return Figure(
        name=sanitise(f"plan-{measure}-{plan['budget']:g}"),
        title=f"What {measure} does a size cost?",
        key="Marks: a plan with its 95 % interval. Grey stairs: the best with at most so much.",
        strips=(Strip("", (panel,)),),
        caption="Down and left is better.",
        legend=tuple((mark, who) for who, mark in drawn.items()),
        across=1,
    )


def _drawn(names: list[str]) -> dict[str, Mark]:
    return marks(list(dict.fromkeys(names)))


def _ledger(run: Sensitivity) -> Ledger:
    columns = (
        *(Column(name) for name in ("compression", "unit", "way", "measure", "of")),
        *(Column(name, numeric=True) for name in ("value", "low", "high", "documents")),
        Column("reason"),
    )
    rows = tuple(
        (
            e.compression,
            e.unit or "everything",
            e.way,
            e.measure,
            e.item,
            e.value,
            e.low,
            e.high,
            e.documents,
            e.reason or "",
        )
        for e in run.effects
    )
    return Ledger(name="effects", columns=columns, rows=rows)


def _method(run: Sensitivity) -> Iterator[Part]:
    about = run.about
    yield Facts(
        (
            ("model", f"{about['model']['name']}, {about['model']['dtype']}"),
            ("weights", about["model"]["fingerprint"]),
            ("tokens", f"{about['on']['tokens']:,} of {about['on']['text']}"),
            ("their hash", about["on"]["token_hash"]),
        )
    )
    yield Command(about["command"])
    for note in about["notes"]:
        yield Prose(note)
    yield Prose(
        "Only this: the unit alone is compressed, everything else is the reference. All but this: "
        "how much of the whole compression's effect goes away where the unit alone is left as it "
        "is. Intervals are of other documents (delete-a-shard jackknife, Student's t). Embedding "
        "and unembedding are compressed by themselves: a whole compression leaves them alone."
    )
    questions = tuple((name, MEASURES[name].metric.question) for name in about["asked"]["measures"])
    yield Facts(questions)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
