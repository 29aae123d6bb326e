"""The section on SAE features: which survive in a twin, read on the reference's positions."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import words
from bitlens.report.charts.bars import stacked
from bitlens.report.charts.charts import beside, pair
from bitlens.report.charts.ladders import Ladder, ladder, shares
from bitlens.report.charts.palette import CERTAINTIES, PIECES
from bitlens.report.page.parts import (
    Column,
    Details,
    Figure,
    Part,
    Prose,
    Section,
    Statement,
    Strip,
    Table,
)
from bitlens.report.registration import Framed, Marks, family, section
from bitlens.report.saes import SaeResults, saes_of
from bitlens.report.sections.flow import flow
from bitlens.report.sections.latents import latents
from bitlens.report.text.extremes import most_and_least
from bitlens.report.text.losses import sound, survivals
from bitlens.report.text.numbers import figure, margin, plain
from bitlens.report.twins import with_noise
from bitlens.results.counts import count

FIT = {
    "FVU, reference": ("fvu", "reference"),
    "FVU, twin": ("fvu", "twin"),
    "FVU ratio": ("fvu_ratio", ""),
    "L0, reference": ("l0", "reference"),
    "L0, twin": ("l0", "twin"),
}
TYPICAL = (
    "r",
    "gain",
    "concordance",
    "lost_firings",
    "new_firings",
    "firing_f1",
    "firing_kappa",
    "twin_only",
)
EARLIER = {
    "sample_correlation": "Are all latents of a position in the same proportions? Latents that "
    "are strong everywhere make any two positions alike: see chance.",
    "sample_correlation_alive": "The same about each latent's mean in the reference, so that "
    "dead latents and the mean code do not count: the balanced form.",
    "feature_correlation": "Does each feature rise and fall with itself, on average?",
    "top10_agreement": "How many of a position's ten strongest latents are the same?",
    "firing_agreement": "How many (position, latent) pairs fire in both models or in neither? "
    "Nearly all do, by silence alone: see chance.",
    "top20_token_sets": "Of the 20 features of largest mean, how many keep 0.8 "
    "of the tokens of their ten top positions?",
}


@section("features", "Features", after="lens", analysis="features")
def features(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """A section for every SAE of one model."""
    found = saes_of(results, model)
    if not found:
        return (
            Prose("No features were compared: the analysis `features` was not run, or had no SAE."),
        )
    told = Prose(
        "A sparse autoencoder (SAE) trained on the reference writes what stands in the residual "
        "stream as a few active features. The same SAE reads the twin. A feature's r is the "
        "Pearson correlation of its activations in the two models over the same positions: 1 "
        "when intact, about 0 when unrelated. Survived: r > 0.9; degraded: 0.5 to 0.9; damaged: "
        "below 0.5. Shares are of active features: those that fire on more than 0.1 % of the "
        "positions in the reference, and ten times at least."
    )
    parts = [told]
    sections = [
        Section(
            f"{results.prefix(model)}features-{number + 1}",
            f"SAE {sae.name}",
            _about(results, model, sae, number=number, marks=marks),
        )
        for number, sae in enumerate(found)
    ]
    return (*_found(results, model), *parts, *sections)


def _found(results: AuditResults, model: str) -> tuple[Statement, ...]:
    """By each twin's worst SAE of those that fit."""
    twins = [twin.compression for twin in results.measured(model)]
    read = {twin: sound(results, model, survivals(results, model, twin)) for twin in twins}
    worst = {twin: min(rows, key=lambda pair: pair[1]["value"])
             for twin, rows in read.items() if rows}  # fmt: skip
    found = most_and_least({t: row for t, (_, row) in worst.items()}, "its features")
    where = {sae.where for sae, _ in worst.values()}
    told = f"Survive {where.pop()}" if len(where) == 1 else "Survive, where fewest do"
    return tuple(replace(one, numbers=f"{told}: {one.numbers}") for one in found)


def _about(
    results: AuditResults, model: str, sae: SaeResults, number: int, marks: Marks
) -> tuple[Part, ...]:
    stem = f"{results.prefix(model)}features-{number + 1}"
    twins = [twin.compression for twin in results.measured(model)]
    if not any(sae.find(results, model, twin, "features.survived") for twin in twins):
        return (Prose(_why(results, model, sae)),)
    parts: list[Part] = [_fit(results, model, sae)]
    parts += _states(results, model, sae, stem)
    parts += _curve(results, model, sae, stem=stem, marks=marks)
    parts += latents(results, model, sae, stem)
    parts.append(_typical(results, model, sae))
    parts += flow(results, model, sae, stem)
    parts.append(Details("As earlier tools count them", (_earlier(results, model, sae),)))
    return tuple(parts)


def _why(results: AuditResults, model: str, sae: SaeResults) -> str:
    """The store's reasons why an SAE has no shares."""
    reasons = dict.fromkeys(
        row["reason"]
        for row in results.estimates
        if (row["model"], row["analysis"], row["site"], row["item"])
        == (model, "features", sae.site, sae.label)
        and row["value"] is None
        and row["reason"]
    )
    return f"No shares of features: {'; '.join(reasons) or 'nothing was measured'}."


def _fit(results: AuditResults, model: str, sae: SaeResults) -> Table:
    rows = tuple(
        (
            label,
            _number(sae.active(results, model, who)),
            *(
                margin(row, "share" if name == "fvu" else "")
                for name, of in FIT.values()
                for row in (sae.find(results, model, who, f"features.{name}", of=of),)
            ),
        )
        for label, who in with_noise(results, model)
    )
    alive = next(
        (row for _, who in with_noise(results, model)
         if (row := sae.find(results, model, who, "features.alive"))),
        None,
    )  # fmt: skip
    fired = f" {int(alive['value']):,} latents fired at all." if alive else ""
    return Table(
        (
            Column("compression"),
            Column("active features", numeric=True),
            *(Column(t, numeric=True) for t in FIT),
        ),
        rows,
        "Does the SAE fit? FVU: share of the variance it leaves unexplained (0 is perfect, 100 % "
        "no better than the mean). L0: how many latents fire at a position. A share of features "
        f"means little where the SAE fits the reference badly.{fired}",
    )


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _states(results: AuditResults, model: str, sae: SaeResults, stem: str) -> list[Part]:
    certain = {name: name.replace(" ", "_") for name in CERTAINTIES}
    panels = [
        stacked(title, rows, drawn)
        for title, names, drawn in (
            ("by r", {name: name for name in PIECES}, PIECES),
            ("survived or lost at r = 0.9, by interval", certain, CERTAINTIES),
        )
        if (rows := _rows(results, model, sae, names))
    ]
    numbers = {sae.active(results, model, t.compression) for t in results.measured(model)}
    known = sorted(n for n in numbers if n is not None)
    told = "" if not known else f"n = {known[-1]:,} active features. "
    keys = {**PIECES, **CERTAINTIES}
    return [
        Figure(
            name=f"{stem}-states",
            title=f"The features that survive: {sae.name}",
            key=(
                "One bar a compression, few bits first; below it weight noise of the same size. "
                "Intact would be one bar of survived features."
            ),
            strips=(Strip("", tuple(panels)),),
            caption=(
                f"{told}Left: the state of each feature by its r. Right: the same question with "
                "each feature's own 95 % interval: surely survived where it lies above 0.9, "
                "surely lost where below, undecided where it holds 0.9: more text would decide."
                f"{_chance(results, model, sae)}"
            ),
            legend=tuple((replace(m, glyph="■"), name) for name, m in keys.items()),
            across=2,
        )
    ]


def _chance(results: AuditResults, model: str, sae: SaeResults) -> str:
    """What would survive of features that have nothing to do with each other."""
    found = [
        row["chance"]
        for twin in results.measured(model)
        if (row := sae.find(results, model, twin.compression, "features.survived"))
        and row["chance"] is not None
    ]
    return f" Of unrelated features {figure(max(found), 'share')} would survive." if found else ""


def _rows(
    results: AuditResults, model: str, sae: SaeResults, names: Mapping[str, str]
) -> list[tuple[str, str, dict[str, Row]]]:
    """(label, compression, estimate by piece), by bits per weight, noise under each."""
    found = []
    bits = {twin.compression: twin.bits for twin in results.measured(model)}
    for twin in sorted(bits, key=lambda name: bits[name] or 0):
        for kind, who in pair(results, model, twin):
            pieces = {
                piece: row
                for piece, name in names.items()
                if (row := sae.find(results, model, who, f"features.{name}"))
            }
            known = "" if bits[twin] is None else f"{plain(bits[twin] or 0, 2)} bits: "
            label = f"{known}{twin}" if kind == "compression" else f"noise like {twin}"
            if pieces:
                found.append((label, who, pieces))
    return found


def _curve(
    results: AuditResults, model: str, sae: SaeResults, stem: str, marks: Marks
) -> list[Part]:
    names = {
        int(name.rpartition("_")[2]): name
        for name in results.metrics
        if name.startswith("features.kept_")
    }
    steps = {f"{t / 100:g}": names[t] for t in sorted(names)}
    if not steps:
        return []
    metric = results.metrics[next(iter(steps.values()))]
    axis = shares(metric, "share of active features", notes=False)
    drawn = Ladder(
        steps=steps,
        title="active features kept",
        along="r above",
        site=sae.site,
        item=sae.label,
        axis=axis,
    )
    chart = ladder(results, model, marks, drawn)
    if chart is None:
        return []
    twins = results.measured(model)
    return [
        Figure(
            name=f"{stem}-thresholds",
            title=f"The same at every other threshold: {sae.name}",
            key=(
                "Share of active features whose r is above each threshold. Filled: a "
                "compression, with its 95 % interval. Dashed with hollow grey marks: weight "
                "noise of the same size. Dashed at 100 %: intact."
            ),
            strips=(Strip("", (chart,)),),
            caption=(
                "Curves that keep their order over all thresholds do not depend on the choice "
                "of 0.9; those that cross do."
            ),
            legend=tuple((marks[t.compression], t.compression) for t in twins),
            controls=beside(results, model),
            across=2,
        )
    ]


def _typical(results: AuditResults, model: str, sae: SaeResults) -> Table:
    known = [name for name in TYPICAL if f"features.{name}" in results.metrics]
    rows = tuple(
        (
            label,
            *(
                margin(
                    sae.find(results, model, who, f"features.{name}"),
                    results.metrics[f"features.{name}"].unit,
                )
                for name in known
            ),
        )
        for label, who in with_noise(results, model)
    )
    return Table(
        (Column("compression"), *(Column(words(name), numeric=True) for name in known)),
        rows,
        "Features and their firings. r, gain and concordance are medians over features; the other "
        "columns pool all firings. gain: slope of the twin's activation on the reference's, 1 when "
        "intact; concordance: correlation that also counts shifts of size; lost and new firings: "
        "shares of the reference's firings that are gone, and of the twin's that are new (with "
        "TopK codes equal by construction: as many fire at every position); F1 and kappa: do they "
        "fire together, the second beyond chance; twin only: features active only in the twin, "
        "over active features.",
    )


def _earlier(results: AuditResults, model: str, sae: SaeResults) -> Table:
    twins = [twin.compression for twin in results.measured(model)]
    rows = []
    for name, said in EARLIER.items():
        found = [sae.find(results, model, twin, f"features.{name}") for twin in twins]
        if not any(found):
            continue
        unit = results.metrics[f"features.{name}"].unit
        chances = [row["chance"] for row in found if row and row["chance"] is not None]
        chance = figure(max(chances), unit) if chances else "–"
        rows.append((words(name), said, chance, *(margin(row, unit) for row in found)))
    titles = (Column("measure"), Column("what it says"), Column("chance", numeric=True))
    return Table(
        (*titles, *(Column(twin, numeric=True) for twin in twins)),
        tuple(rows),
        f"{count(len(rows), 'definition')} of earlier tools, beside chance and, where they "
        "reward silence, beside a balanced form. All are 1 when intact.",
    )


@family("Features", section="features", order=60, told="features of an SAE that survive")
def survival(results: AuditResults, model: str, who: str) -> Iterator[Framed]:
    """The share of the active features that survive, by SAE; not by one that is in doubt."""
    for sae, row in sound(results, model, survivals(results, model, who)):
        yield Framed(row=row, intact=1.0, chance=row["chance"] or 0.0, where=sae.where)
