"""The page of a study of trained SAEs: one offline file, made of its results alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bitlens.errors import visible
from bitlens.report.page.html import html
from bitlens.report.page.parts import (
    Column,
    Facts,
    Ledger,
    Page,
    Part,
    Prose,
    Section,
    Statement,
    Table,
)
from bitlens.report.text.extremes import apart
from bitlens.report.text.numbers import amount, figure, margin
from bitlens.results.counts import count
from bitlens.sae.alignment.compare import BEST
from bitlens.sae.firing_categories import CATEGORIES
from bitlens.workflows.sae_study.contents import FROZEN_MODE, RETRAINED
from bitlens.workflows.sae_study.figures import against_width, along_axes
from bitlens.workflows.sae_study.found import StudyResults, TwinResults
from bitlens.workflows.sae_study.measures import ALIGNED, IN_SAMPLE, SHORT, SURVIVAL, UNITS, R
from bitlens.workflows.sae_study.results import AXES

PAGE = "report.html"


def page_of(content: Mapping[str, Any]) -> str:
    """The whole file; the same results give the same text."""
    return html(page(visible(content)))


def sentences(content: Mapping[str, Any]) -> list[str]:
    """What stands first on the page, for a terminal: a line a twin."""
    return [f"{of.twin} ({of.where}): {_told(of)}" for of in StudyResults(content).twins]


def page(content: Mapping[str, Any]) -> Page:
    """The page as parts, before it is written in any form."""
    about, twins = content["about"], StudyResults(content).twins
    sections = [Section("short", "In short", tuple(_short(twins)))]
    for n, found in enumerate(twins):
        parts: list[Part] = [*_stated(found), _widths_table(found)]
        parts += [*against_width(found), *along_axes(found), _flows(found)]
        sections.append(Section.stating(f"twin-{n}", found.twin, tuple(parts)))
    sections += [
        Section("numbers", "All numbers", (_ledger(content),)),
        Section("method", "Method and limits", _method()),
    ]
    title = f"What an SAE's size does to what {about['model']} and its twins share"
    held = count(about["held out"]["documents"], "document")
    subtitle = (
        f"{about['architecture']} SAEs at {about['site']}, measured on {held} of {about['text']} "
        "that none of them learnt from."
    )
    return Page(title, subtitle, tuple(sections))


def _short(twins: Sequence[TwinResults]) -> list[Part]:
    """The published ratio, beside what random directions give."""
    parts: list[Part] = []
    for found in twins:
        parts.append(Facts(((found.twin, _activations(found)), ("SAEs", found.where))))
        parts.append(Prose(_told(found)))
        if len(found.widths) > 1:
            parts.append(_ratios(found))
    return parts


def _stated(found: TwinResults) -> Iterator[Statement]:
    """Whether the narrowest SAEs surely share more or less than the widest."""
    narrow, wide = found.widths[0], found.widths[-1]
    first, last = (found.estimate(width, BEST, "normalised") for width in (narrow, wide))
    if narrow == wide or first is None or last is None or None in (first["value"], last["value"]):
        return
    if apart(first, last):
        order = (narrow, wide) if first["value"] > last["value"] else (wide, narrow)
        text = f"SAEs of {order[0]} share more with {found.twin} than those of {order[1]}"
    else:
        text = f"Their width does not surely change what SAEs share with {found.twin}"
    numbers = f"{narrow} {amount(first)}; {wide} {amount(last)}"
    yield Statement(text, f"Best matches, 0 by chance and 1 with another seed: {numbers}.")


def _activations(found: TwinResults) -> str:
    known = found.cka
    if known is None or known["value"] is None:
        return "debiased CKA of the activations is not known"
    chance = f", {figure(known['chance'])} by chance" if known["chance"] is not None else ""
    return f"debiased CKA of the activations {amount(known)}{chance}"


def _told(found: TwinResults) -> str:
    narrow, *others = found.widths
    if not others:
        return "One width alone: there is nothing to compare it with."
    wide = others[-1]
    value, null, again = (found.ratio(IN_SAMPLE, column) for column in ("value", "null", "ceiling"))
    if value is None or null is None or value["value"] is None:
        return "In-sample Procrustes has no ratio."
    told = (
        f"In-sample Procrustes, by which a published study found that SAEs of 0.5x transfer 2.3 "
        f"times better than those of 8x, is {amount(value)} times as large at {narrow} as at "
        f"{wide} here; of random directions without structure it is {figure(null['value'])} times "
        "as large"
    )
    if again is not None and again["value"] is not None:
        told += f", of SAEs of the reference alone {amount(again)} times"
    ends = [found.estimate(width, BEST, "normalised") for width in (narrow, wide)]
    if all(end is not None and end["value"] is not None for end in ends):
        far = " and ".join(amount(end) for end in ends if end is not None)
        told += f". Between chance and seed ceiling the best matches stand at {far}"
    return f"{told}."


def _ratios(found: TwinResults) -> Table:
    widths = found.widths
    columns = ("value", "chance", "ceiling", "normalised")
    rows = []
    for measure in (SURVIVAL, R, "fvu_reference", "fvu_twin", *ALIGNED):
        ends = [found.estimate(w, measure, "value") for w in (widths[0], widths[-1])]
        rows.append(
            (
                SHORT[measure],
                *(margin(end, UNITS.get(measure, "")) for end in ends),
                *(margin(found.ratio(measure, column)) for column in columns),
            )
        )
    titles = (f"at {widths[0]}", f"at {widths[-1]}", "ratio", "of chance", "of seed ceiling")
    return Table(
        (
            Column("measure"),
            *(Column(title, numeric=True) for title in (*titles, "of the normalised")),
        ),
        tuple(rows),
        "Narrowest over widest. ± is the longer half of the 95 % interval over seeds; a dash: it "
        "has no value there, All numbers says why.",
    )


def _widths_table(found: TwinResults) -> Table:
    """A row a number, a column a width."""
    widths = found.widths
    wanted = [(measure, "value") for measure in ("fvu_reference", "fvu_twin", SURVIVAL, R)]
    wanted += [(measure, column) for measure in ALIGNED for column in COLUMNS]
    rows = []
    for measure, column in wanted:
        cells = [found.estimate(width, measure, column) for width in widths]
        if any(cell is not None and cell["value"] is not None for cell in cells):
            told = f"{SHORT[measure]}: {COLUMNS.get(column, column)}".removesuffix(": ")
            unit = "" if column == "normalised" else UNITS.get(measure, "")
            rows.append((told, *(margin(cell, unit) for cell in cells)))
    return Table(
        (Column("measure"), *(Column(width, numeric=True) for width in widths)),
        tuple(rows),
        f"{found.where}. ± is the longer half of the 95 % interval over seeds. One seed: "
        "SAEs of both models that began alike.",
    )


COLUMNS = {
    "value": "",
    "same": "one seed",
    "chance": "random directions",
    "ceiling": "seed ceiling",
    "normalised": "normalised",
    "null": "random directions without structure",
}


def _flows(found: TwinResults) -> Table:
    rows = []
    for width, flows in found.flows:
        for before, name in enumerate(CATEGORIES):
            counts = [sum(flow[before][after] for flow in flows) / len(flows) for after in range(4)]
            rows.append((width, name, *(figure(n) if n else "0" for n in counts)))
    titles = (Column("width"), Column("in the reference"))
    return Table(
        (*titles, *(Column(f"{name} in {found.twin}", numeric=True) for name in CATEGORIES)),
        tuple(rows),
        "Latents of the reference's SAE by how often they fire on either model, mean over "
        "seeds. Rare: at less than 1 % of positions; frequent: at half of them or more.",
    )


def _ledger(content: Mapping[str, Any]) -> Ledger:
    place = ("twin", *AXES, "latents", "mode", "measure", "column")
    names = (*place, "value", "low", "high", "seeds", "reason")
    numeric = {"penalty", "epochs", "tokens", "latents", "value", "low", "high", "seeds"}
    titles = {"penalty": content["about"]["penalty"]}
    return Ledger(
        "numbers",
        tuple(Column(titles.get(name, name), name in numeric) for name in names),
        tuple(tuple(row[name] for name in names) for row in content["estimates"]),
        f"{FROZEN_MODE}: the reference's SAE on both models. {RETRAINED}: SAEs that were trained "
        "on each.",
    )


def _method() -> tuple[Part, ...]:
    return (
        Prose(
            "Alignment is of decoder directions of latents that fired on the held-out documents; "
            "in-sample Procrustes, the measure of a published study, is of encoder directions, all "
            "latents, the n-th with the n-th, scored on the rows the rotation was fitted to. Of "
            "uniformly random directions it is 1 - c/4, with c latents a dimension up to 1, and "
            "about 0.85/sqrt(c) far above."
        ),
        Prose(
            "Numbers are means over all pairs of different seeds; intervals leave out one seed "
            "after another (jackknife, Student's t). They say what other seeds would give on these "
            "documents, not what other texts, models or sites would."
        ),
        Prose(
            "Held-out Procrustes takes two pairs of mutual nearest neighbours a dimension: narrow "
            "dictionaries have none."
        ),
    )
