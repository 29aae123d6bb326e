"""The section on heads: do those for induction, previous and duplicate tokens do their jobs?"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import words
from bitlens.report.charts.charts import beside
from bitlens.report.charts.depth import across
from bitlens.report.charts.ladders import Ladder, ladder, shares
from bitlens.report.charts.scatter import against
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
from bitlens.report.registration import Framed, Marks, family, section
from bitlens.report.text.extremes import most_and_least
from bitlens.report.text.numbers import amount, margin
from bitlens.report.twins import with_noise
from bitlens.results.counts import count

KINDS = {
    "induction": "Induction: attends to what followed the same token before",
    "previous": "Previous token: attends to the position just before",
    "duplicate": "Duplicate token: attends to the same token before",
}
NAMES = {"induction": "induction", "previous": "previous-token", "duplicate": "duplicate-token"}
THRESHOLDS = tuple(range(10, 100, 10))
"""Hundredths."""
EARLIER = {
    "heads.induction_kept_readme": "by its README: score above 0.4 in both models",
    "heads.induction_kept_code": "by its code: above mean + 2 standard deviations in the "
    "reference, above half of that in the twin",
}


@section("heads", "Heads", after="attention", analysis="heads", uses=())
def heads(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """One model's scores, what stays above each threshold, and copying."""
    strips = tuple(
        Strip(title, tuple(panels))
        for kind, title in KINDS.items()
        if f"heads.{kind}" in results.metrics
        and (panels := against(results, model, f"heads.{kind}", marks, percent=False))
    )
    if not strips:
        return (Prose("Heads were not scored: the analysis `heads` was not run."),)
    prefix = results.prefix(model)
    parts: list[Part] = [
        *_found(results, model),
        Prose(
            "Both models read random tokens repeated once, where the only way to do better on "
            "the second copy is to look the first one up. A score is the share of a head's "
            "attention that rests where a head of that kind would put it; chance is the same "
            "share at places beside. Head 1.2 is head 2 of block 1, both counted from 0."
        ),
        Figure(
            name=f"{prefix}heads-scores",
            opens="head",
            title="Every head's score in the twin against its score in the reference",
            key=(
                "Each filled mark is a head, with 95 % intervals: its score in the reference "
                "across, in the twin up. Hollow grey: the same head under weight noise of the "
                "same size. Dashed: intact. Dotted: chance."
            ),
            strips=strips,
            caption=(
                "Heads at the right do this job; those at the lower left never did. Below the "
                "dashed line a score is lower after compression: by how much, on the same "
                "sequences, stands with its interval in the table and among all numbers. A click "
                "on a mark opens that head."
            ),
            controls=beside(results, model),
            across=across(max(len(strip.panels) for strip in strips)),
        ),
    ]
    parts += _survival(results, model, marks)
    parts.append(_table(results, model))
    parts.append(Details("As an earlier tool counts them", (_earlier(results, model),)))
    return tuple(parts)


def _found(results: AuditResults, model: str) -> tuple[Statement, ...]:
    """By the kind of head that the reference has, induction first."""
    twins = [twin.compression for twin in results.measured(model)]
    for kind in KINDS:
        name = f"heads.{kind}_score_kept"
        rows = {twin: results.find(model, twin, name, site="pattern") for twin in twins}
        if known := {twin: row for twin, row in rows.items() if row}:
            told = f"the scores of its {NAMES[kind]} heads"
            found = most_and_least(known, told)
            return tuple(replace(one, numbers=f"Score kept: {one.numbers}") for one in found)
    return ()


def _kept(
    results: AuditResults, model: str, kind: str, steps: Mapping[str, str], marks: Marks
) -> Panel | None:
    """The shares of one kind of head that stay above each score; None where there is no such."""
    numbers = _numbers(results, model, kind)
    metric = results.metrics[next(iter(steps.values()))]
    drawn = Ladder(
        steps=steps,
        title=f"{KINDS[kind].partition(':')[0].lower()} heads",
        along=f"{words(kind)} above",
        site="pattern",
        axis=shares(metric, "share of heads kept", notes=bool(numbers)),
        notes={step: str(numbers.get(step, "")) for step in steps} if numbers else {},
    )
    return ladder(results, model, marks, drawn)


def _survival(results: AuditResults, model: str, marks: Marks) -> Iterator[Part]:
    panels = []
    none: list[str] = []
    for kind in KINDS:
        steps = {
            f"{t / 100:g}": name
            for t in THRESHOLDS
            if (name := f"heads.{kind}_kept_{t}") in results.metrics
        }
        if not steps:
            continue
        chart = _kept(results, model, kind, steps=steps, marks=marks)
        if chart is None:
            none.append(kind)
        else:
            panels.append(chart)
    if panels:
        twins = results.measured(model)
        yield Figure(
            name=f"{results.prefix(model)}heads-survival",
            title="The share of the reference's heads above a score that stay above it",
            key=(
                "Filled: a compression; heads are few, so the share has no interval, but each head "
                "above has. Dashed with hollow grey marks: "
                "weight noise of the same size. Dashed at 100 %: intact. Numbers at the foot: "
                "how many of the reference's heads stand above that score."
            ),
            strips=(Strip("", tuple(panels)),),
            caption=(
                "The whole curve, because any one threshold is a choice. A head counts if it "
                "stands above the score on the sequences for choosing and on those for scoring, "
                "so that an unchanged twin keeps all. Where few heads stand, a step is one head."
            )
            + (f" No head of the reference scores above 0.1: {', '.join(none)}." if none else ""),
            legend=tuple((marks[t.compression], t.compression) for t in twins),
            controls=beside(results, model),
        )
    elif none:
        yield Prose("No head of the reference scores above 0.1 on any of these.")


def _numbers(results: AuditResults, model: str, kind: str) -> dict[str, int]:
    """By threshold, the reference's heads above it, on both sets of sequences."""
    for twin in results.measured(model):
        rows = [
            row
            for row in results.table(model, twin.compression, "heads", "heads")
            if row["kind"] == kind
        ]
        if rows:
            return {
                f"{t / 100:g}": sum(min(r["choosing"], r["reference"]) > t / 100 for r in rows)
                for t in THRESHOLDS
            }
    return {}


def _table(results: AuditResults, model: str) -> Table:
    titles = ["compression", *(f"rank, {kind}" for kind in KINDS)]
    titles += ["change of induction", "second copy, ratio"]
    titles += ["copying, reference", "copying, twin", "copying kept"]
    rows = tuple(
        (
            label,
            *(_rank(results.find(model, who, f"heads.{k}_rank", "pattern")) for k in KINDS),
            _change(results.find(model, who, "heads.induction_mean_change", "pattern")),
            margin(results.find(model, who, "heads.second_copy_ratio")),
            *(
                margin(results.find(model, who, "heads.copying", item=item))
                for item in ("reference", "twin")
            ),
            margin(results.find(model, who, "heads.copying_kept"), "share"),
        )
        for label, who in with_noise(results, model)
    )
    return Table(
        tuple(Column(title, title != "compression") for title in titles),
        rows,
        "rank: are heads in the same order by score? Spearman correlation over all heads, 1 when "
        "intact, 0 by chance. change of induction: mean change of the scores of the reference's "
        "induction heads (above 0.4), in points. second copy, ratio: the twin's loss there over "
        "the reference's, 1 when intact. copying: how much easier the second copy is than the "
        "first, in nats per token; kept: the twin's over the reference's, 100 % when intact, 0 by "
        "chance.",
    )


def _change(row: Row | None) -> str:
    ends = ("value", "low", "high")
    if row is None:
        return "–"
    return margin({k: row[k] and 100 * row[k] for k in ends} | {"reason": row["reason"]})


def _rank(row: Row | None) -> str:
    """With both ends: so near to 1 the halves of an interval differ in length."""
    return "–" if row is None else amount(row)


def _earlier(results: AuditResults, model: str) -> Table:
    named = {name: text for name, text in EARLIER.items() if name in results.metrics}
    rows = tuple(
        (label, *(margin(results.find(model, who, name, "pattern"), "share") for name in named))
        for label, who in with_noise(results, model)
    )
    columns = (Column("compression"), *(Column(text, numeric=True) for text in named.values()))
    return Table(
        columns,
        rows,
        "does-quantization-kill-interpretability: induction heads kept, counted "
        f"in {count(len(named), 'way')} that differ from each other. It chooses and scores heads "
        "on the same sequences.",
    )


@family(
    "Heads",
    section="heads",
    order=40,
    told="score of the induction heads, and what copying gains",
)
def jobs(results: AuditResults, model: str, who: str) -> Iterator[Framed]:
    """What is left of the induction heads' mean score, and of what a second copy gains."""
    told = {"heads.induction_score_kept": "pattern", "heads.copying_kept": "logits"}
    for metric, site in told.items():
        if row := results.find(model, who, metric, site=site):
            where = results.metrics[metric].name.removesuffix("_kept").replace("_", " ")
            yield Framed(row=row, intact=1.0, chance=row["chance"] or 0.0, where=where)
