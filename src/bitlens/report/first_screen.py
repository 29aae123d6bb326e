"""The first screen of a page: what did not pass, hero rows, findings and the overview."""

from bitlens.report.audit_results import AuditResults
from bitlens.report.findings.ranking import findings, first
from bitlens.report.hero import Hero, heroes
from bitlens.report.page.parts import (
    Checklist,
    Details,
    Headline,
    Headlines,
    HeroNumber,
    HeroRow,
    HeroRows,
    Matrix,
    Part,
    Prose,
    ScoreCell,
    Section,
)
from bitlens.report.registration import Finding, Marks, MeasureFamily, families, sections
from bitlens.report.scores import FamilyScore, scores
from bitlens.report.sections.quality import overview
from bitlens.report.sections.validity import passed
from bitlens.report.status import shipped
from bitlens.report.text.doubts import checks, claim, doubts, failed, rests
from bitlens.report.text.numbers import amount, figure, plain
from bitlens.report.text.summary_table import summary_table
from bitlens.report.text.verdict import doubtful, sentences
from bitlens.results.records import TEXT

STEPS = 10
"""How many shades the overview has between intact and chance."""


def verdict(results: AuditResults, drawn: Marks) -> tuple[Part, ...]:
    """What one reads before anything else, model by model where there are several."""
    parts: list[Part] = []
    for model in results.models:
        about = _about(results, model, drawn)
        if len(results.models) > 1:
            parts.append(Section(f"{results.prefix(model)}verdict", model, about))
        else:
            parts += about
    return (*overview(results, drawn), *parts)


def _about(results: AuditResults, model: str, drawn: Marks) -> tuple[Part, ...]:
    prefix = results.prefix(model)
    doubted = doubtful(results, model)
    against = any(check.passed is False for check in doubted)
    parts: list[Part] = [Checklist(tuple(doubted))] if against else []
    unit = "Intervals are 95 %; their unit is the document, of heads the random sequence."
    parts.append(Prose(f"{passed(checks(results))}. {unit}"))
    parts.append(hero_rows(results, model, drawn))
    shown, others = first(findings(results, model))
    if shown:
        told = Headlines(tuple(_headline(results, model, one) for one in shown))
        parts.append(Section(f"{prefix}findings", "What was found", (told,)))
    if others:
        told = Headlines(tuple(_headline(results, model, one) for one in others))
        title = "What noise of the same size does as well, and what matters less"
        parts.append(Details(title, (told,)))
    scored = matrix(results, model, drawn)
    if scored.columns:
        parts.append(Section(f"{prefix}overview", "How much is left", (scored,)))
    if doubted and not against:
        title = "What is in doubt"
        parts.append(Section(f"{prefix}doubts", title, (Checklist(tuple(doubted)),)))
    numbers = (summary_table(results, model),)
    parts.append(Details("The numbers of the outputs, size and bits", numbers))
    return tuple(parts)


def hero_rows(results: AuditResults, model: str, drawn: Marks) -> HeroRows:
    """A row for every compression that was asked for."""
    means = (results.rules or shipped()).means
    told = " ".join(f"{word.capitalize()}: {text}" for word, text in means.items())
    rows = tuple(_row(results, model, one, drawn) for one in heroes(results, model))
    return HeroRows(rows, f"{told} By rules on 95 % intervals; hover a word to see which.")


def _row(results: AuditResults, model: str, one: Hero, drawn: Marks) -> HeroRow:
    name, found = one.twin.compression, one.status
    rules = (*found.because, *found.maybe) if found else ()
    bits = f"{one.bits} bits per weight" if one.bits else ""
    return HeroRow(
        compression=name,
        mark=drawn.get(name),
        word=found.word if found else "failed",
        rests=rules,
        sentence=one.sentence,
        advice=found.advice if found else "",
        numbers=tuple(
            HeroNumber(title=number.title, text=number.text, word=number.word or "")
            for number in one.numbers
        ),
        facts=tuple(filter(None, (one.size, bits))),
        doubts=_doubts(results, model, name),
        more=" ".join(sentences(results, model, one.twin)[1:]),
    )


def _doubts(results: AuditResults, model: str, name: str) -> tuple[str, ...]:
    """The checks that failed and bear on what was measured of this twin on the text."""
    told = claim("", TEXT, twins=(name,))
    return tuple(
        f"{doubt.check.name}: {doubt.check.detail}"
        for doubt in doubts(results, model)
        if doubt.check.passed is False
        and (rests(results, model, told, doubt) or name in doubt.check.twins)
    )


def _headline(results: AuditResults, model: str, one: Finding) -> Headline:
    return Headline(
        title=one.title,
        text=one.text,
        anchor=f"{results.prefix(model)}{one.anchor}",
        target=one.target,
    )


def matrix(results: AuditResults, model: str, drawn: Marks) -> Matrix:
    """Twins by families of measures; of families that nobody has a number of there is no column."""
    prefix = results.prefix(model)
    twins = [twin.compression for twin in results.measured(model)]
    known = {name: scores(results, model, name) for name in twins}
    kept = [
        entry
        for column, entry in enumerate(families())
        if any(found[column][1] for found in known.values())
    ]
    rows = tuple(
        (
            name,
            drawn.get(name),
            tuple(_cell(results, model, entry, one) for entry, one in found if entry in kept),
        )
        for name, found in known.items()
    )
    return Matrix(
        tuple((entry.title, f"{prefix}{entry.section}") for entry in kept),
        rows,
        "100 % is intact, 0 % what unrelated models would give. Each cell is the worst place of "
        "its family; the darker, the less is left.",
    )


def _cell(
    results: AuditResults, model: str, family: MeasureFamily, found: FamilyScore | None
) -> ScoreCell:
    if found is None:
        return ScoreCell(text="–", interval="", step=None, told=f"{family.title}: not measured")
    share = min(max(found.value, 0.0), 1.0)
    row, unit = found.of.row, results.metrics[_metric(found)].unit
    where = f" {found.of.where}" if found.of.where else ""
    shown = next((entry for entry in sections() if entry.anchor == family.section), None)
    of = row["item"].partition(", ")[0]
    uses = {*(shown.uses if shown else [TEXT]), *filter(None, [of])}
    doubted = failed(results, model, uses, [row["compression"]])
    return ScoreCell(
        text=f"{plain(100 * found.value, 1)} %",
        interval=_ends(found),
        step=round(STEPS * (1 - share)),
        told=(
            f"{_metric(found)}{where}: {amount(row, unit)}; "
            f"intact {figure(found.of.intact, unit)}, chance {figure(found.of.chance, unit)}"
            + "".join(f"; ✗ {doubt}" for doubt in doubted)
        ),
        doubted=bool(doubted),
    )


def _ends(found: FamilyScore) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"[{plain(100 * found.low, 1)}, {plain(100 * found.high, 1)}]"


def _metric(found: FamilyScore) -> str:
    return f"{found.of.row['analysis']}.{found.of.row['metric']}"
