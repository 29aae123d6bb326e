"""The section on probes: monitors made on the reference, frozen and learned again."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.probe_areas import areas
from bitlens.report.page.parts import Column, Details, Part, Prose, Section, Statement, Table
from bitlens.report.registration import Framed, Marks, family, section
from bitlens.report.text.differences import way
from bitlens.report.text.missing import missing
from bitlens.report.text.numbers import amount, margin, plain
from bitlens.report.text.probes import ProbedSet, flagged, flagged_by_noise, probed
from bitlens.report.twins import with_noise
from bitlens.results.records import REFERENCE
from bitlens.results.shared_names import AS_IT_IS, PROBED_BY, REPAIRED_BY

TITLES = (
    "frozen",
    "learned again",
    "lost",
    "by rotation",
    "as information",
    "flagged falsely",
    "detected",
    "cosine",
)
RATES = ("false_positives", "detected")
LENGTH = 0.6
"""An area of the number of tokens alone beyond which it is said that length may be read."""


@section("probes", "Probes", after="shared", analysis="probes", uses=())
def probes(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """What was found, areas by block, and a table of every set."""
    sets = probed(results, model)
    if not sets:
        # It is run where it is asked for: a page without it need not say so.
        return ()
    told = Prose(
        "A probe is a direction that tells two classes of texts apart, learned from the "
        "reference's residual stream after a block. It is used on the twin as it is (frozen), as a "
        "monitor would be, and learned again on the twin. What the frozen one loses and a new one "
        "gets back is lost by rotation; what a new one cannot get back is lost as information. All "
        "areas are of documents that no probe learned from, with chance from shuffled labels. "
        "Cosines of directions stand beside this and decide nothing."
    )
    figure = areas(results, model, {f"{s.name}, {PROBED_BY[0]}": s.name for s in sets}, marks)
    tables = tuple(
        Section(
            f"{results.prefix(model)}probes-{number}",
            f"{one.name}, {one.where}",
            (
                _table(results, model, one, PROBED_BY[0]),
                *_repairs(results, model, one),
                Details(
                    "By the difference of the classes' means",
                    (_table(results, model, one, PROBED_BY[1]),),
                ),
            ),
        )
        for number, one in enumerate(sets, 1)
    )
    shown = (figure,) if figure else ()
    return (*_found(results, model, sets), told, *shown, *tables)


def _found(results: AuditResults, model: str, sets: list[ProbedSet]) -> tuple[Statement, ...]:
    """The twin and set where most is lost, or that nothing surely is; what is flagged."""
    twins = [twin.compression for twin in results.measured(model)]
    lost = {
        (twin, one): row
        for one in sets
        for twin in twins
        if (row := one.find(results, model, twin, "lost"))
    }
    if not lost:
        told = "The reference's probes read nothing, so that nothing can be lost"
        return (Statement(told, f"Sets: {', '.join(one.name for one in sets)}."),)
    surely = [pair for pair, row in lost.items() if _more(results, row)]
    found = [_worst(results, model, lost, surely)]
    rates = {
        (twin, one): row
        for one in sets
        for twin in twins
        if (row := flagged(results, model, twin, one))
    }
    if rates:
        (twin, one), row = max(rates.items(), key=lambda pair: pair[1]["value"])
        text = f"In {twin} the threshold for 1 % flags {_percent(row)} of other texts ({one.name})"
        more = (
            f"{twin}, {one.name} {amount(row, 'share')}"
            f"{flagged_by_noise(results, model, twin, one)}"
            for (twin, one), row in sorted(rates.items(), key=lambda p: -p[1]["value"])[:4]
        )
        found.append(Statement(text, f"Flagged falsely: {'; '.join(more)}."))
    return tuple(found)


def _worst(
    results: AuditResults,
    model: str,
    lost: dict[tuple[str, ProbedSet], Row],
    surely: list[tuple[str, ProbedSet]],
) -> Statement:
    order = sorted(surely or lost, key=lambda pair: -lost[pair]["value"])[:4]
    each = "; ".join(f"{twin}, {one.name} {amount(lost[twin, one])}" for twin, one in order)
    numbers = f"AUC lost by the frozen probe: {each}."
    if not surely:
        return Statement("No frozen probe surely ranks worse in a twin", numbers)
    twin, one = order[0]
    before, after = (
        one.find(results, model, twin, name) for name in ("auc_reference", "auc_frozen")
    )
    back = one.find(results, model, twin, "lost_by_rotation")
    text = f"In {twin} the probe for {one.name} falls"
    if before and after:
        text += f" from {plain(before['value'], 2)} to {plain(after['value'], 2)}"
    if back and back["value"] > lost[twin, one]["value"] / 2:
        text += "; one learned again gets most of it back"
    return Statement(text, numbers)


def _more(results: AuditResults, row: Row | None) -> bool:
    return row is not None and way(results.contrast(row, REFERENCE)) == "more"


def _percent(row: Row) -> str:
    return f"{plain(100 * row['value'], 0)} %"


def _table(results: AuditResults, model: str, one: ProbedSet, method: str) -> Table:
    """The reference first, then every twin with its noise."""

    def cell(who: str, metric: str, unit: str = "", of: str = "") -> str:
        return margin(one.find(results, model, who, metric, method, of=of), unit)

    rows: list[tuple[str, ...]] = []
    for label, who in with_noise(results, model):
        if not rows:
            rates = [cell(who, metric, "share", "reference") for metric in RATES]
            area = cell(who, "auc_reference")
            rows.append(("reference", area, "–", "–", "–", "–", *rates, "–"))
        areas_ = [cell(who, f"auc_{name}") for name in ("frozen", "refitted")]
        lost = [cell(who, name) for name in ("lost", "lost_by_rotation", "lost_as_information")]
        rates = [cell(who, metric, "share", "twin") for metric in RATES]
        rows.append((label, *areas_, *lost, *rates, cell(who, "direction_cosine")))
    return Table(
        (Column("compression"), *(Column(title, numeric=True) for title in TITLES)),
        tuple(rows),
        "frozen, learned again: AUC. lost: the reference's less the frozen one's, which is by "
        "rotation plus as information. flagged falsely, detected: of the other class and of the "
        "class itself, at the threshold that flags 1 % of the other class in the reference. It is "
        "set on the texts that it is judged on: of others it would flag up to 2 % in the reference "
        "itself, and nothing below that is called a change; how unsure the threshold is, ± tells "
        "only roughly. ± is the longer half of a 95 % interval, given the probe; documents are the "
        "unit."
        f"{_length(results, model, one)}"
        f"{missing(results, model, 'probes', f'{one.name}, {method}')}",
    )


def _repairs(results: AuditResults, model: str, one: ProbedSet) -> tuple[Table, ...]:
    """What is read and flagged as it is, and after each way of bringing activations back."""
    rows = []
    for label, who in with_noise(results, model):
        as_it_is = (
            margin(one.find(results, model, who, "auc_frozen")),
            margin(one.find(results, model, who, "false_positives", of="twin"), "share"),
        )
        brought = [
            margin(one.find(results, model, who, metric, of=way), unit)
            for way in REPAIRED_BY
            for metric, unit in (("auc_repaired", ""), ("false_positives_repaired", "share"))
        ]
        rows.append((label, *as_it_is, *brought))
    if all(cell == "–" for row in rows for cell in row[3:]):
        return ()
    titles = [
        title for way in (AS_IT_IS, *REPAIRED_BY) for title in (f"AUC, {way}", "flagged falsely")
    ]
    return (
        Table(
            (Column("compression"), *(Column(title, numeric=True) for title in titles)),
            tuple(rows),
            "The reference's probe and its threshold for 1 %, on the twin as it is, and after the "
            "twin's activations were brought back to the reference's, without labels: by the "
            "difference of their means, by mean and scale of every dimension, by a linear map "
            "(ridge). What brings them back was learned from the same texts in both models, and is "
            "read on others.",
        ),
    )


def _length(results: AuditResults, model: str, one: ProbedSet) -> str:
    """What the number of tokens alone tells."""
    twin = results.measured(model)[0].compression
    row = results.find(model, twin, "probes.length_auc", site="", item=one.name)
    if row is None:
        return ""
    leak = abs(row["value"] - 0.5) > LENGTH - 0.5
    warning = ": a probe may read the length" if leak else ""
    return f" The number of tokens alone has an AUC of {plain(row['value'], 2)}{warning}."


@family(
    "Probes",
    section="probes",
    order=80,
    told="what frozen probes of labelled texts lose where they read best",
)
def monitored(results: AuditResults, model: str, who: str) -> Iterator[Framed]:
    """What each frozen probe loses of its area; by chance all that is above one half."""
    for one in probed(results, model):
        row = one.find(results, model, who, "lost")
        if row and row["chance"]:
            yield Framed(row=row, intact=0.0, chance=row["chance"], where=f"{one.name} {one.where}")
