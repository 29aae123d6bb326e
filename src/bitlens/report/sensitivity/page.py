"""The page of a sensitivity run: which layers matter, and what to do about it."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
from bitlens.report.sensitivity.tables import (
    adding,
    agreeing,
    as_shown,
    ranked,
    staged,
    surely_more,
)
from bitlens.report.text.few import sayable
from bitlens.report.text.numbers import amount, figure
from bitlens.results.counts import count
from bitlens.results.files.names import inside, sanitise
from bitlens.results.files.writing import write
from bitlens.results.plans.measured import NAME as PLAN_FILE
from bitlens.results.plans.measured import read_measured
from bitlens.results.sensitivity.additivity import share
from bitlens.results.sensitivity.folder import PLANS, REPORT, Sensitivity, read_run
from bitlens.results.sensitivity.measures import MEASURES
from bitlens.results.sensitivity.proxies import ABOUT, agreements
from bitlens.results.sensitivity.records import Effect

MOST = 20
"""Units in a chart."""


def build(folder: Path) -> Path:
    """Write the page of a run, with every plan that was made of it; its path. BitlensError for what
    is damaged."""
    run = as_shown(read_run(folder))
    home = folder / PLANS
    made = sorted(path.parent for path in home.glob(f"*/{PLAN_FILE}")) if home.is_dir() else []
    found = [shown.seen(read_measured(path)) for path in made]
    path = inside(folder, REPORT)
    write(path, html(page(run, found)).encode())
    return path


def page(run: Sensitivity, made: list[dict[str, Any]]) -> Page:
    """Everything, as parts; `made`: the plans."""
    model, on = run.about["model"], run.about["on"]
    sections = [
        Section.stating("layers", "Which layers matter", tuple(_layers(run))),
        Section.stating("proxies", "Do other scores agree?", tuple(_proxies(run))),
    ]
    for plan in made:
        anchor = f"plan-{sanitise(plan['measure'])}-{plan['budget']:g}".replace(".", "-")
        title = f"What to do with {plan['budget']:g} bits a weight, for {plan['measure']}"
        sections.append(Section.stating(anchor, title, tuple(_plan(run, plan))))
    if not made:
        measure, name = run.about["asked"]["measures"][0], run.root.resolve().name
        parts = (
            Prose("From these effects a plan can be made, audited and held against others:"),
            Command(f"{shlex.join(['bitlens', 'plan', name])} --budget 4.5 --protect {measure}"),
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
    if stages := staged(run):
        left = tuple(
            (one["compression"], one["unit"], f"{stage['documents']:,}")
            for stage in run.about["stages"]
            for one in stage["left"]
        )
        columns = (Column("compression"), Column("unit"), Column("documents", numeric=True))
        yield Prose(stages)
        yield Details("What left, and after how many documents", (Table(columns, left),))
    yield adding(run)


def advice(run: Sensitivity, compression: str, measure: str, item: str) -> Statement | None:
    """The unit that matters most, and what it would cost and bring to leave it as it is."""
    inside = {unit.name: unit for unit in run.units if unit.block is not None}
    order = ranked(run, compression, measure, item)
    of_blocks = [e for e in order if e.unit in inside and e.value is not None]
    if not of_blocks:
        return None
    first, metric = of_blocks[0], MEASURES[measure].metric
    whole = run.of("whole", measure, item)[compression, ""]
    text = f"{_capital(first.unit)} matters most of the blocks' units under {compression}"
    if len(of_blocks) > 1 and not surely_more(run, first, of_blocks[1]):
        text = f"{_capital(first.unit)} and {of_blocks[1].unit} matter most under {compression}"
        text += ": which of them more is not sure"
    numbers = (
        f"Alone {first.unit} costs {measure} {amount(asdict(first), metric.unit)}; everything "
        f"together {amount(asdict(whole), metric.unit)}."
    )
    back = run.of("all but", measure, item).get((compression, first.unit))
    bits = run.bits(compression)
    if back is not None and first.unit in bits:
        unit = inside[first.unit]
        total = sum(one.parameters for one in inside.values())
        cost = (run.about["model"]["bits"] - bits[first.unit]) * unit.parameters / total
        saved = sayable(asdict(share(back, whole, run.method)))
        if saved["value"] is not None:
            numbers += (
                f" Keeping it as it is costs {figure(cost)} bits a weight over the blocks and "
                f"brings back {amount(saved, 'share')} of that."
            )
    outside = [e for e in order if e.unit not in inside and surely_more(run, e, first)]
    if outside:
        numbers += (
            f" The {outside[0].unit}, which a whole compression leaves alone, would cost more: "
            f"{amount(asdict(outside[0]), metric.unit)}."
        )
    return Statement(text, numbers)


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
        left = sum(e.value is not None for e in order) - len(pairs)
        rest = f" {left} more matter less." if left else ""
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
    asked = run.about["asked"]
    compression, measure = asked["compressions"][0], asked["measures"][0]
    found = [
        a
        for a in agreements(run)
        if a.value is not None and (a.compression, a.measure) == (compression, measure)
    ]
    if not found:
        yield Prose("No score could be ranked: it takes four units.")
        return
    order = sorted(found, key=lambda a: -(a.value or 0.0))
    told = ", ".join(f"{a.proxy} {amount(sayable(asdict(a)))}" for a in order)
    yield Statement(
        "How well scores that other tools rank layers by order the units",
        f"Rank correlation with the measured {measure} under {compression}: {told}.",
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
    words = ["bitlens", "compress", plan["model"], "--with", first["compression"]]
    yield Command(f"{shlex.join(words)} --save DIR")
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
    # Of several SAEs a plan has the mean: one of them is no point of the same chart.
    for item in run.items(measure) if len(run.items(measure)) == 1 else ():
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
        *(Column(name, numeric=True) for name in ("value", "low", "high")),
        Column("in"),
        Column("documents", numeric=True),
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
            MEASURES[e.measure].metric.unit,
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
