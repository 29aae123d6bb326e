"""The section on experts: where a twin sends tokens elsewhere, and whether that or the experts
themselves do the damage."""

from collections.abc import Iterator, Mapping

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.charts import frame, only, pair
from bitlens.report.charts.grid import INTERVAL, axes, darker, tips
from bitlens.report.experts import (
    LOST,
    SAME,
    STANDS_OUT,
    Place,
    damaged_expert,
    damaged_router,
    expert_rows,
    named,
)
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
from bitlens.report.text.extremes import apart, each
from bitlens.report.text.numbers import amount, figure, margin
from bitlens.report.twins import farthest

THIN = 128
"""An expert that met fewer tokens than this is marked: what is said of it rests on few."""
SHOWN = 12
"""So many experts of a twin are listed: those whose output is farthest off, and the thin ones."""
DECADES = 2
"""The colours span at most so many powers of ten below the largest value."""


@section("routing", "Experts and their routing", after="attention", analysis="routing")
def routing(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:  # noqa: ARG001
    """Of a mixture of experts: what was damaged, block by block and expert by expert."""
    twins = [t.compression for t in results.measured(model)]
    found = {t: rows for t in twins if (rows := expert_rows(results, model, t))}
    if not found:
        return ()
    prefix = results.prefix(model)
    start = farthest(results, model, list(found))
    tables = {
        "by block": ("routers", "Routers, block by block", _by_block),
        "by margin": ("margins", "Which tokens go elsewhere", _by_margin),
        "by expert": ("experts", "Experts that are farthest off, or met few tokens", _by_expert),
    }
    return (
        *_found(results, model, list(found)),
        Prose(
            "In a mixture of experts a router sends each token to a few of its block's experts. "
            "Agreement is the share of the experts chosen by the reference that the twin chooses "
            "too; by chance it is what both models' loads alone would give, not nought. Blocks and "
            "experts are counted from 0. What experts add is compared on the reference's own "
            "input, with its routing: there only their weights can differ."
        ),
        _damage(results, model, list(found)),
        _map(results, model, found),
        *(
            Section(
                f"{prefix}routing-{anchor}",
                title,
                (Tabs(tuple((t, (table(results, model, t),)) for t in found), start),),
            )
            for anchor, title, table in tables.values()
        ),
    )


def _found(results: AuditResults, model: str, twins: list[str]) -> tuple[Statement, ...]:
    """What was damaged most, by name."""
    said = []
    for twin in twins:
        router = damaged_router(results, model, twin)
        if router:
            block, row = router
            said.append(
                Statement(
                    f"The router of block {block} is damaged itself, in {twin}",
                    "On the reference's own input it agrees with the reference's router on "
                    f"{amount(row, 'share')} of the choices. Named is a router that surely does on "
                    f"less than {figure(SAME, 'share')}.",
                )
            )
        expert = damaged_expert(results, model, twin)
        if expert:
            place, row, others = expert
            said.append(
                Statement(
                    f"Expert {named(place)} is the one that is lost, in {twin}",
                    f"What it adds is off by {amount(row, 'share')}; the next is off by "
                    f"{figure(others, 'share')}. Named is one that is surely off by more than "
                    f"{figure(LOST, 'share')}, and {STANDS_OUT:g} times as far as the next.",
                )
            )
    found = {t: results.find(model, t, "routing.agreement", "router", "cumulative") for t in twins}
    whole = {t: row for t, row in found.items() if row}
    if whole:
        said.append(_elsewhere(results, model, whole))
    return tuple(said)


def _elsewhere(results: AuditResults, model: str, found: Mapping[str, Row]) -> Statement:
    """How many choices the twin that agrees least makes otherwise, where it surely is that twin."""
    order = sorted(found, key=lambda twin: -found[twin]["value"])
    most, least = found[order[0]], found[order[-1]]
    text = "No twin surely sends more of the tokens' choices to other experts than another"
    if len(order) == 1 or apart(most, least):
        known = least["low"] is not None
        ends = {"low": 1 - least["high"], "high": 1 - least["low"]} if known else {}
        gone = {**least, "value": 1 - least["value"], **ends}
        text = (
            f"{order[-1]} sends {amount(gone, 'share')} of the tokens' choices to other experts "
            "than the reference"
        )
    numbers = f"Agreement over all blocks: {each({t: found[t] for t in order}, 'share')}."
    noise = results.noise(model, order[-1])
    other = (
        results.find(model, noise, "routing.agreement", "router", "cumulative") if noise else None
    )
    if other:
        numbers += f" Weight noise of the size of {order[-1]}: {amount(other, 'share')}."
    return Statement(text, numbers)


def _damage(results: AuditResults, model: str, twins: list[str]) -> Table:
    """How much of the damage is routing, and how much the experts' and other weights."""
    rows = []
    for twin in (who for t in twins for _, who in pair(results, model, t)):
        found = {
            name: results.find(model, twin, f"routing.{name}", "logits", "cumulative")
            for name in ("damage", "damage_weights", "damage_routing", "repaired")
        }
        units = {"repaired": "share"}
        rows.append((twin, *(margin(row, units.get(n, "")) for n, row in found.items())))
    return Table(
        (
            Column("twin"),
            Column("KL (nats)", numeric=True),
            Column("under the reference's routing", numeric=True),
            Column("reference under its routing", numeric=True),
            Column("repaired by routing", numeric=True),
        ),
        tuple(rows),
        "Routing against weights. KL: of the twin's predictions from the reference's. Under the "
        "reference's routing: the twin again, with every token sent in every block where the "
        "reference sends it; what is left is the weights' doing. Reference under its routing: "
        "the reference's own weights, with tokens sent where the twin sends them; that is the "
        "routing's doing alone. The two need not add up.",
    )


def _by_block(results: AuditResults, model: str, twin: str) -> Table:
    def at(metric: str, block: int, kind: str = "router", item: str = "cumulative") -> Row | None:
        return results.find(model, twin, f"routing.{metric}", f"{kind}.{block}", item)

    rows = []
    for block in sorted({place[0] for place in expert_rows(results, model, twin)}):
        agreement = at("agreement", block)
        chance = agreement["chance"] if agreement else None
        rows.append(
            (
                str(block),
                margin(agreement, "share"),
                figure(chance, "share") if chance is not None else "–",
                margin(at("exact", block), "share"),
                margin(at("mass", block), "share"),
                margin(at("kl", block)),
                margin(at("load_tv", block), "share"),
                margin(at("agreement", block, item="local"), "share"),
                margin(at("weights_error", block, "experts", "local"), "share"),
            )
        )
    titles = (
        *("block", "agreement", "chance", "same experts", "weight on the same", "KL (nats)"),
        *("load elsewhere", "agreement on equal input", "experts' error"),
    )
    return Table(
        tuple(Column(title, numeric=True) for title in titles),
        tuple(rows),
        "Same experts: share of tokens sent to exactly the same. Weight on the same: share of the "
        "weight that experts are given. KL: of the router's distribution over all experts. On "
        "equal input: what the router's own weights do, whatever came before. Experts' error: of "
        "what they add together, on the reference's input and routing.",
    )


def _by_margin(results: AuditResults, model: str, twin: str) -> Table:
    rows: dict[str, dict[int, Row]] = {}
    for row in results.everywhere(model, twin, "routing.shift_rate"):
        band = row["item"].removesuffix(", cumulative")
        rows.setdefault(band, {})[int(row["site"].partition(".")[2])] = row
    blocks = sorted({block for of in rows.values() for block in of})
    return Table(
        (Column("margin in the reference"), *(Column(f"block {b}", numeric=True) for b in blocks)),
        tuple(
            (band.removeprefix("margin "), *(margin(of.get(b), "share") for b in blocks))
            for band, of in rows.items()
        ),
        "Share of tokens that are not sent to exactly the same experts, by how far the last chosen "
        "expert is ahead of the first that is not: in router logits, or logarithms of what the "
        "router gives where that is sigmoids or probabilities. Close calls change sides first.",
    )


def _by_expert(results: AuditResults, model: str, twin: str) -> Table:
    errors = expert_rows(results, model, twin)
    known = {(r["block"], r["expert"]): r for r in results.table(model, twin, "routing", "experts")}
    thin = [place for place, row in known.items() if row["tokens_reference"] < THIN]
    worst = sorted(errors, key=lambda place: -errors[place]["value"])
    chosen = list(dict.fromkeys([*worst[:SHOWN], *thin[:SHOWN]]))

    def tokens(row: Row, who: str) -> str:
        number = row.get(f"tokens_{who}")
        return "–" if number is None else f"{number:,}{' (thin)' if number < THIN else ''}"

    rows = []
    for place in chosen:
        row = known.get(place, {})
        weight = row.get("weight_error")
        rows.append(
            (
                f"expert {named(place)}",
                margin(errors.get(place), "share"),
                "–" if weight is None else figure(weight, "share"),
                *(tokens(row, who) for who in ("reference", "twin", "calibration")),
            )
        )
    titles = (
        *("expert", "output error", "weight error", "tokens in the reference"),
        *("tokens in the twin", "tokens in calibration"),
    )
    return Table(
        tuple(Column(title, title != "expert") for title in titles),
        tuple(rows),
        f"Block.expert, both from 0; {len(chosen)} of {len(known)}. Output error: on the tokens "
        "that the reference sends to it. Thin: fewer than "
        f"{THIN} tokens. Tokens in calibration: of the documents that calibrated twins read, sent "
        "where the reference sends them; – where nothing was calibrated.",
    )


def _map(results: AuditResults, model: str, found: Mapping[str, Mapping[Place, Row]]) -> Figure:
    maps = {
        twin: {who: expert_rows(results, model, who) for _, who in pair(results, model, twin)}
        for twin in found
    }
    every = [row["value"] for of in maps.values() for rows in of.values() for row in rows.values()]
    places = {place for of in maps.values() for rows in of.values() for place in rows}
    empty = _frame(places, max(every) or 1.0)
    strips = tuple(
        Strip(
            twin,
            tuple(
                Panel(
                    "this compression" if who == twin else "weight noise of the same size",
                    empty,
                    tuple(_cell(place, row, who) for place, row in rows.items()),
                )
                for who, rows in of.items()
                if rows
            ),
        )
        for twin, of in maps.items()
    )
    return Figure(
        name=f"{results.prefix(model)}routing-experts",
        title="How far off each expert is",
        key=(
            "One cell an expert; darker is farther: relative error of what it adds, on the tokens "
            "that the reference sends to it, one logarithmic scale for all charts. Empty: none."
        ),
        strips=strips,
        caption="Intact is 0. An expert that gives nothing any more is off by 100 %.",
        across=2,
    )


def _cell(place: Place, row: Row, who: str) -> Point:
    block, expert = place
    known = {field: row[field] for field in ("value", "low", "high")}
    return {
        "is": "expert",
        "who": who,
        "item": named(place),
        "x": expert,
        "block": block,
        **{k: float(f"{v:.5g}") for k, v in known.items() if v is not None},
    }


def _frame(places: set[Place], top: float) -> Spec:
    blocks, experts = (sorted({place[n] for place in places}) for n in (0, 1))
    x, y = axes("expert", experts, blocks)
    colour = darker(("relative", "error"), top, DECADES, "~%")
    said = tips("expert (block.expert)", {"value": "relative error", **INTERVAL}, ".3~%")
    layer = only("expert").mark_rect().encode(x=x, y=y, color=colour, tooltip=said)
    return frame(None, [layer], max(90, min(18 * len(blocks), 420)))


@family("Routing", section="routing", order=35, told="choices of experts that stay as they are")
def routed(results: AuditResults, model: str, who: str) -> Iterator[Framed]:
    """How much each router agrees with the reference's, as the twin runs; by chance what both
    models' loads alone give."""
    for block, row in results.depth(model, who, "routing.agreement", "router", "cumulative"):
        if row["chance"] is not None and row["chance"] < 1:
            yield Framed(row=row, intact=1.0, chance=row["chance"], where=f"in block {block}")
