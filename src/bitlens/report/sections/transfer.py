"""The section on SAEs in place: what a model loses where a reconstruction stands in for it."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.charts import beside
from bitlens.report.charts.frontier import Shown, against, bits_of
from bitlens.report.page.parts import Column, Figure, Part, Prose, Section, Statement, Strip, Table
from bitlens.report.registration import Framed, Marks, family, section
from bitlens.report.saes import SaeResults, saes_of
from bitlens.report.text.differences import way
from bitlens.report.text.extremes import each
from bitlens.report.text.missing import missing
from bitlens.report.text.numbers import margin
from bitlens.report.text.splices import spliced
from bitlens.report.twins import with_noise
from bitlens.results.records import REFERENCE

RECOVERED = "transfer.loss_recovered"
TITLES = (
    "loss recovered",
    "points less",
    "loss added",
    "nats more",
    "at stake",
)


@section("transfer", "SAEs spliced in", after="features", analysis="transfer")
def transfer(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """Loss recovered in the reference and in every twin: a chart of all SAEs, a table of each."""
    found = spliced(results, model)
    if not found:
        return (
            Prose("No SAE was spliced in: the analysis `transfer` was not run, or had no SAE."),
        )
    told = Prose(
        "The SAE's reconstruction is put in the place of what it read, at every position that "
        "counts, in the reference and in the twin, and each model goes on from there. Loss "
        "recovered is the share of the loss at stake that the reconstruction saves: 1 where it "
        "does no harm, 0 where it is worth no more than the reference's mean activation in its "
        "place. Each model is held against its own clean loss, on the documents that "
        "these runs read."
    )
    tables = (
        Section(
            f"{results.prefix(model)}transfer-{number + 1}",
            f"SAE {sae.name}",
            (_table(results, model, sae),),
        )
        for number, sae in enumerate(found)
    )
    return (*_found(results, model, found), told, *_figure(results, model, found, marks), *tables)


def _found(results: AuditResults, model: str, saes: list[SaeResults]) -> tuple[Statement, ...]:
    """Whether any twin surely loses more than the reference where an SAE stands in."""
    rows = {
        f"{twin.compression}, {sae.name}": row
        for sae in saes
        for twin in results.measured(model)
        if (row := sae.find(results, model, twin.compression, "transfer.recovered_difference"))
    }
    if not rows:
        return ()
    less = [n for n, row in rows.items() if way(results.contrast(row, REFERENCE)) == "more"]
    order = sorted(rows, key=lambda name: rows[name]["value"])
    numbers = f"Points of it less: {each({name: rows[name] for name in order}, 'points')}."
    if not less:
        told = "In no twin do the SAEs surely recover less of the loss than in the reference"
        return (Statement(told, numbers),)
    worst = max(less, key=lambda name: rows[name]["value"]).partition(", ")[0]
    told = f"In {worst} an SAE recovers less of the loss than in the reference"
    return (Statement(told, numbers),)


def _figure(results: AuditResults, model: str, found: list[SaeResults], marks: Marks) -> list[Part]:
    bits = bits_of(results, model)
    if bits is None:
        return []
    twins = [twin.compression for twin in results.measured(model)]
    panels, missing = [], []
    for sae in found:
        own = (sae.find(results, model, twin, RECOVERED, of="reference") for twin in twins)
        shown = Shown(
            metric=RECOVERED,
            item=f"{sae.label}, twin",
            title=sae.name,
            intact=next((row["value"] for row in own if row), None),
        )
        if chart := against(results, model, shown, bits, marks):
            panels.append(chart[0])
            missing += chart[1]
    if not panels:
        return []
    return [
        Figure(
            name=f"{results.prefix(model)}transfer",
            title="The share of the loss that the SAEs recover in the twins",
            key=(
                "Filled: a compression with its 95 % interval. Hollow grey: weight noise of the "
                "same size as that compression's error. Dashed: intact, which is the reference's "
                "own; chance, which is the mean in the SAE's place; and the cast to "
                "16 bits."
            ),
            strips=(Strip("", tuple(panels)),),
            caption=(
                "Intervals are those of each model alone. Both models read the same documents: "
                "whether the twin differs from the reference, the differences in the tables tell."
                + (f" Not drawn: {'; '.join(missing)}." if missing else "")
            ),
            legend=tuple((marks[name], name) for name in bits.of),
            controls=beside(results, model),
            across=2 if len(panels) in (1, 2, 4) else 3,
        )
    ]


def _table(results: AuditResults, model: str, sae: SaeResults) -> Table:
    """The reference first, then every twin with its noise."""

    def levels(who: str, of: str) -> list[str]:
        units = {"loss_recovered": "share", "loss_added": "", "loss_at_stake": ""}
        return [
            margin(sae.find(results, model, who, f"transfer.{name}", of=of), unit)
            for name, unit in units.items()
        ]

    rows: list[tuple[str, ...]] = []
    for label, who in with_noise(results, model):
        if not rows:
            recovered, added, stake = levels(who, "reference")
            rows.append(("reference", recovered, "–", added, "–", stake))
        recovered, added, stake = levels(who, "twin")
        less = margin(sae.find(results, model, who, "transfer.recovered_difference"), "share")
        more = margin(sae.find(results, model, who, "transfer.added_difference"))
        rows.append((label, recovered, less, added, more, stake))
    return Table(
        (Column("compression"), *(Column(title, numeric=True) for title in TITLES)),
        tuple(rows),
        "loss recovered: of the loss at stake; points less: than in the reference, on the same "
        "documents. loss added: cross-entropy with the reconstruction in its place less the "
        "model's own, in nats; nats more: than in the reference. at stake: the same with the mean "
        "in its place. ± is the longer half of a 95 % interval, documents being the "
        f"unit.{missing(results, model, 'transfer', sae.label)}",
    )


@family(
    "Spliced",
    section="transfer",
    order=70,
    told="what predictions lose less with an SAE's reconstruction in place of what it read",
)
def reconstructions(results: AuditResults, model: str, who: str) -> Iterator[Framed]:
    """How much less of the loss a reconstruction recovers in the twin, by SAE; by chance all of
    what it recovers in the reference."""
    for sae in saes_of(results, model):
        row = sae.find(results, model, who, "transfer.recovered_difference")
        whole = sae.find(results, model, who, RECOVERED, of="reference")
        if row and whole and whole["value"] > 0:
            yield Framed(row=row, intact=0.0, chance=whole["value"], where=sae.where)
