"""The first screen of a page: the lead, hero rows, findings and the overview."""

import re
from collections import Counter
from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.findings.beside_noise import beside
from bitlens.report.findings.ranking import findings, first
from bitlens.report.hero import Hero, heroes
from bitlens.report.lead import TOLD, against_noise, first_to_break, lead
from bitlens.report.page.parts import (
    Checklist,
    Details,
    Headline,
    Headlines,
    HeroNumber,
    HeroPlace,
    HeroRow,
    HeroRows,
    Matrix,
    Part,
    Prose,
    ScoreCell,
    Section,
    Statement,
)
from bitlens.report.registration import Finding, Marks, MeasureFamily, families, sections
from bitlens.report.scores import FamilyScore, scores
from bitlens.report.sections.quality import overview
from bitlens.report.sections.validity import passed
from bitlens.report.status import WORST_FIRST, shipped, status
from bitlens.report.text.doubts import checks, claim, doubts, failed, rests
from bitlens.report.text.early_stop import stops
from bitlens.report.text.lesions import listed
from bitlens.report.text.methods import smaller, spelt_out
from bitlens.report.text.numbers import amount, figure, plain, size
from bitlens.report.text.summary_table import summary_table
from bitlens.report.text.verdict import doubtful, sentences
from bitlens.report.worst import worst
from bitlens.results.counts import count
from bitlens.results.records import TEXT

STEPS = 10
"""How many shades the overview has between intact and chance."""
PAIRED = (
    "A twin and its noise read the same documents and are compared document by document: two "
    "intervals may overlap and the difference be sure all the same. q is the share of such claims "
    "that may be wrong; a tenth of the damage or less counts as none."
)
MEANINGS = {
    "same top token": "Same top token: both models put the same token first.",
    "features that survive": "A feature survives where its activation in the twin follows the "
    "reference's (correlation above 0.9).",
    "benchmark recovery": "Benchmark recovery: what is left of the score above chance.",
    "induction score kept": "Induction score: how strongly heads look up what followed the same "
    "token before.",
}
"""What the numbers of the hero rows are."""
COUNTED = (
    "Blocks and heads count from 0: head 1.3 is the fourth head of the second block. Noise of a "
    "twin's size: every matrix as wrong as the twin's, at random."
)
"""What else the hero rows speak of."""


def verdict(results: AuditResults, drawn: Marks) -> tuple[Part, ...]:
    """What one reads before anything else, model by model where there are several."""
    if len(results.models) == 1:
        return _about(results, results.models[0], drawn)
    parts: list[Part] = [Statement(_counted(results)), *overview(results, drawn)]
    for model in results.models:
        about = _about(results, model, drawn)
        parts.append(Section.stating(f"{results.prefix(model)}verdict", model, about))
    return tuple(parts)


def _counted(results: AuditResults) -> str:
    """Of several models: `Of 6 twins of 2 models 2 are intact, 3 damaged and 1 broken`."""
    words = Counter(
        one.status.word if one.status else "failed"
        for model in results.models
        for one in heroes(results, model)
    )
    first, *more = [f"{words[word]} {word}" for word in TOLD if words[word]] or ["none"]
    number, word = first.split(" ", 1) if " " in first else (first, "")
    verb = "is" if number == "1" else "are"
    told = listed([f"{number} {verb} {word}".strip(), *more], most=len(TOLD))
    twins = count(words.total(), "twin")
    return f"Of {twins} of {count(len(results.models), 'model')} {told}"


def _about(results: AuditResults, model: str, drawn: Marks) -> tuple[Part, ...]:
    prefix = results.prefix(model)
    doubted = doubtful(results, model)
    against = any(check.passed is False for check in doubted)
    rows = hero_rows(results, model, drawn)
    parts: list[Part] = [*_lead(results, model, rows)]
    parts += [Checklist(tuple(doubted))] if against else []
    parts.append(rows)
    shown, others = first(findings(results, model))
    if shown:
        told = Headlines(tuple(_headline(results, model, one) for one in shown), PAIRED)
        parts.append(Section(f"{prefix}findings", "What was found", (told,)))
    if others:
        told = Headlines(tuple(_headline(results, model, one) for one in others), PAIRED)
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


def _lead(results: AuditResults, model: str, rows: HeroRows) -> Iterator[Part]:
    """Which twins may be used, what breaks first, noise beside, and what the checks said."""
    found = heroes(results, model)
    doubted = {row.compression for row in rows.items if row.doubts}
    if told := lead(found, doubted):
        yield Statement(told)
    sure = [one for one in found if one.twin.compression not in doubted]
    checked = f"{passed(checks(results))}."
    unit = "Intervals are 95\u00a0%, over documents; those of heads are over random sequences."
    breaks, noise = first_to_break(results, model, sure), against_noise(results, model, sure)
    yield Prose(" ".join(filter(None, (breaks, noise, *stops(results, model), checked, unit))))


def hero_rows(results: AuditResults, model: str, drawn: Marks) -> HeroRows:
    """A row for every compression that was asked for."""
    means = (results.rules or shipped()).means
    rows = tuple(_row(results, model, one, drawn) for one in heroes(results, model))
    known = {number.title.partition(",")[0] for row in rows for number in row.numbers}
    told = " ".join(
        [text for title, text in MEANINGS.items() if title in known]
        + [f"{word.capitalize()}: {text}" for word, text in means.items()]
    )
    told += (
        " The words are given by rules on 95 % intervals: hover one to see which. The bar beside "
    )
    told += "a number has the colour of the word that its own rules give."
    return HeroRows(rows, f"{told} {COUNTED}")


def _row(results: AuditResults, model: str, one: Hero, drawn: Marks) -> HeroRow:
    name, found = one.twin.compression, one.status
    rules = (*found.because, *found.maybe) if found else ()
    bits = f"{one.bits} bits per weight" if one.bits else ""
    whole = results.about(model)["bytes"]
    less = smaller(whole, one.twin.bytes)
    sized = f"{one.size}, {less}" if less else f"{one.size} instead of {size(whole)}"
    facts = (spelt_out(name), sized if one.size else "", bits, one.kept)
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
        places=tuple(_places(results, model, name)) if found else (),
        facts=tuple(filter(None, facts)),
        doubts=_doubts(results, model, name),
        more=" ".join(sentences(results, model, one.twin)[1:]),
    )


def _places(results: AuditResults, model: str, name: str) -> Iterator[HeroPlace]:
    """Where a twin is hit hardest, and what noise of its size does."""
    for one in worst(results, model, name):
        yield HeroPlace(title=one.title, text=one.text, target=one.target)
    if compared := beside(results, model, name):
        anchor = f"{results.prefix(model)}quality"
        yield HeroPlace(title="Beside noise", text=compared.told, target=anchor)


def _doubts(results: AuditResults, model: str, name: str) -> tuple[str, ...]:
    """The checks that failed and bear on what was measured of this twin on the text."""
    told = claim("", TEXT, twins=(name,))
    return tuple(
        f"{doubt.check.name}: {_briefly(doubt.check.detail)}"
        for doubt in doubts(results, model)
        if doubt.check.passed is False
        and (rests(results, model, told, doubt) or name in doubt.check.twins)
    )


def _briefly(detail: str) -> str:
    """What was found, without what follows from it: the whole stands above the cards."""
    return f"{re.split(r'[;.] ', detail)[0].rstrip('.')}."


def _headline(results: AuditResults, model: str, one: Finding) -> Headline:
    return Headline(
        title=one.title,
        text=one.text,
        anchor=f"{results.prefix(model)}{one.anchor}",
        target=one.target,
        word=_worst_word(results, model, one.twins),
    )


def _worst_word(results: AuditResults, model: str, twins: tuple[str, ...]) -> str:
    """Of the twins that a finding is about."""
    words = {
        status(results, model, twin).word
        for twin in results.measured(model)
        if twin.compression in twins
    }
    return next((word for word in (*WORST_FIRST, "undecided", "intact") if word in words), "")


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
        "its family; the stronger the red, the less is left. "
        + " ".join(f"{entry.title}: {entry.told}." for entry in kept if entry.told),
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
