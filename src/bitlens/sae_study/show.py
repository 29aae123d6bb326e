"""What does a study of trained SAEs show? One offline page, made of its results alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from bitlens.records import Metric
from bitlens.report.axes import Axis
from bitlens.report.evidence import visible
from bitlens.report.html import html
from bitlens.report.palette import Mark, marks
from bitlens.report.parts import (
    Column,
    Facts,
    Figure,
    Ledger,
    Page,
    Panel,
    Part,
    Prose,
    Section,
    Strip,
    Table,
)
from bitlens.report.wording import amount, count, figure, margin
from bitlens.sae.alignment.compare import BEST, MUTUAL, ROTATED, SHARED
from bitlens.sae.categories import CATEGORIES
from bitlens.sae_study.figures import CEILING, CHANCE, NULL, curves, shares
from bitlens.sae_study.found import Found, Place
from bitlens.sae_study.measures import ALIGNED, IN_SAMPLE, SURVIVAL, R
from bitlens.sae_study.results import AXES, FROZEN_MODE, RETRAINED

PAGE = "report.html"
SHORT = {
    BEST: "best match",
    MUTUAL: "mutual nearest",
    SHARED: "matched at 0.7",
    ROTATED: "held-out Procrustes",
    IN_SAMPLE: "in-sample Procrustes",
    SURVIVAL: "survived",
    R: "median r",
    "fvu_reference": "FVU, reference",
    "fvu_twin": "FVU, twin",
}
UNITS = {SURVIVAL: "share", "fvu_reference": "share", "fvu_twin": "share"}
UNITS |= {MUTUAL: "share", SHARED: "share"}


def page_of(content: Mapping[str, Any]) -> str:
    """The whole file; the same results give the same text."""
    return html(page(visible(content)))


def page(content: Mapping[str, Any]) -> Page:
    """Everything, as parts."""
    about, twins = content["about"], sorted({c["twin"] for c in content["configurations"]})
    found = Found(content)
    sections = [Section("short", "In short", tuple(_short(found, twins)))]
    for n, twin in enumerate(twins):
        parts = (*_against_width(found, twin), *_along_axes(found, twin), *_flows(found, twin))
        sections.append(Section(f"twin-{n}", twin, parts))
    sections += [
        Section("numbers", "All numbers", (_ledger(content),)),
        Section("method", "Method and limits", _method(found)),
    ]
    title = f"What an SAE's size does to what {about['model']} and its twins share"
    held = count(about["held out"]["documents"], "document")
    subtitle = (
        f"{about['architecture']} SAEs at {about['site']}, measured on {held} of {about['text']} "
        "that none of them learnt from."
    )
    return Page(title, subtitle, tuple(sections))


def _where(found: Found, place: Place) -> str:
    penalty, epochs, tokens = place
    times = count(epochs, "epoch")
    return f"{found.penalty} {penalty:g}, {times}, {tokens:,} tokens"


def _short(found: Found, twins: Sequence[str]) -> list[Part]:
    """The published ratio, beside what random directions give."""
    parts: list[Part] = []
    for twin in twins:
        place = found.main(twin)
        widths = found.widths(twin, place)
        parts.append(Facts(((twin, _activations(found, twin)), ("SAEs", _where(found, place)))))
        if len(widths) < 2:
            parts.append(Prose("One width alone: there is nothing to compare it with."))
            continue
        parts.append(Prose(_told(found, twin, place, widths)))
        parts.append(_ratios(found, twin, place, widths))
    return parts


def _activations(found: Found, twin: str) -> str:
    known = found.cka.get(twin, {})
    if known.get("value") is None:
        return "debiased CKA of the activations is not known"
    value = {"low": None, "high": None, **known}
    chance = f", {figure(known['chance'])} by chance" if known.get("chance") is not None else ""
    return f"debiased CKA of the activations {amount(value)}{chance}"


def _told(found: Found, twin: str, place: Place, widths: Sequence[str]) -> str:
    narrow, wide = widths[0], widths[-1]
    value, null, again = (
        found.ratio(twin, place, IN_SAMPLE, column) for column in ("value", "null", "ceiling")
    )
    if value is None or null is None or value["value"] is None:
        return "In-sample Procrustes has no ratio."
    told = (
        f"In-sample Procrustes, by which a published study found that SAEs of 0.5x transfer 2.3 "
        f"times better than those of 8x, is {amount(value)} times as large at {narrow} as at "
        f"{wide} here; of random directions it is {figure(null['value'])} times as large"
    )
    if again is not None and again["value"] is not None:
        told += f", of SAEs of the reference alone {amount(again)} times"
    ends = [found.estimate(twin, place, width, BEST, "normalised") for width in (narrow, wide)]
    if all(end is not None and end["value"] is not None for end in ends):
        far = " and ".join(amount(end) for end in ends if end is not None)
        told += f". Between chance and seed ceiling the best matches stand at {far}"
    return f"{told}."


def _ratios(found: Found, twin: str, place: Place, widths: Sequence[str]) -> Table:
    columns = ("value", "chance", "ceiling", "normalised")
    rows = []
    for measure in (SURVIVAL, R, "fvu_reference", "fvu_twin", *ALIGNED):
        ends = [found.estimate(twin, place, w, measure, "value") for w in (widths[0], widths[-1])]
        rows.append(
            (
                SHORT[measure],
                *(margin(end, UNITS.get(measure, "")) for end in ends),
                *(margin(found.ratio(twin, place, measure, column)) for column in columns),
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


def _against_width(found: Found, twin: str) -> tuple[Part, ...]:
    place = found.main(twin)
    own = marks([twin])[twin]
    return tuple(
        part
        for part in (
            _widths_table(found, twin, place),
            _figure(
                "alignment",
                "Are SAEs that were trained on either model alike?",
                [_retrained(found, twin, place, measure, own) for measure in ALIGNED],
                f"SAEs of the reference against those of {twin}, of different seeds; random "
                "directions have the twin's mean and covariance, those without structure are "
                f"uniform. {_where(found, place)}.",
                [(own, f"SAEs of {twin}")],
                [
                    (CEILING, "SAEs of the reference, the seed ceiling"),
                    (CHANCE, "random directions, chance"),
                    (NULL, "random directions without structure, by formula"),
                ],
            ),
            _figure(
                "normalised",
                "And between chance and seed ceiling?",
                [_normalised(found, twin, place, measure, own) for measure in ALIGNED],
                "0: as alike as random directions; 1: as alike as SAEs of the reference trained "
                "again. Where the ceiling is hardly above chance, the number says little.",
                [(own, twin)],
            ),
            _figure(
                "frozen",
                "Does the reference's SAE say the same of the twin?",
                [_frozen(found, twin, place, m, own) for m in (SURVIVAL, R, "fvu_reference")],
                "One SAE on both models, at the same positions: nothing is matched. Survived: "
                "active latents with a correlation above 0.9.",
                [(own, twin)],
                [(CEILING, "the reference"), (CHANCE, "other positions, chance")],
            ),
        )
        if part is not None
    )


def _retrained(found: Found, twin: str, place: Place, measure: str, own: Any) -> Panel | None:
    series = {
        "random directions": (CHANCE, found.curve(twin, place, measure, "chance")),
        "seed ceiling": (CEILING, found.curve(twin, place, measure, "ceiling")),
        twin: (own, found.curve(twin, place, measure, "value")),
    }
    if measure == IN_SAMPLE:
        series["random matrices"] = (NULL, found.curve(twin, place, measure, "null"))
    metric = Metric(SHORT[measure], "", UNITS.get(measure, ""), "lower", 1.0)
    return curves(
        SHORT[measure], metric, series, found.widths(twin, place), "width", axis=shares(metric)
    )


def _normalised(found: Found, twin: str, place: Place, measure: str, own: Any) -> Panel | None:
    series = {twin: (own, found.curve(twin, place, measure, "normalised"))}
    metric = Metric("normalised", "", "", "lower", 1.0)
    axis = Axis(metric, "linear", -0.5, 2.0, (0, 0.5, 1, 1.5))
    return curves(
        SHORT[measure],
        metric,
        series,
        found.widths(twin, place),
        "width",
        {"chance": 0.0, "ceiling": 1.0},
        axis,
    )


def _frozen(found: Found, twin: str, place: Place, measure: str, own: Any) -> Panel | None:
    metric = Metric(SHORT[measure], "", UNITS.get(measure, ""), "lower", 1.0)
    if measure == "fvu_reference":
        series = {
            "reference": (CEILING, found.curve(twin, place, measure, "value")),
            twin: (own, found.curve(twin, place, "fvu_twin", "value")),
        }
        return curves(
            "FVU", metric, series, found.widths(twin, place), "width", axis=shares(metric)
        )
    series = {
        "other positions": (CHANCE, found.curve(twin, place, measure, "chance")),
        twin: (own, found.curve(twin, place, measure, "value")),
    }
    return curves(
        SHORT[measure], metric, series, found.widths(twin, place), "width", axis=shares(metric)
    )


def _along_axes(found: Found, twin: str) -> list[Part]:
    """Every other axis of which more than one value was run at the main place's others."""
    place, parts = found.main(twin), list[Part]()
    widths = found.widths(twin, place)
    drawn = marks(widths)
    for axis, title in (
        ("penalty", found.penalty),
        ("epochs", "epochs"),
        ("tokens", "tokens learnt from"),
    ):
        panels = []
        for measure in ("fvu_reference", SURVIVAL, BEST, SHARED, IN_SAMPLE):
            series = {w: (drawn[w], found.along(twin, axis, w, measure)) for w in widths}
            if max(len(rows) for _, rows in series.values()) < 2:
                continue
            metric = Metric(SHORT[measure], "", UNITS.get(measure, ""), "lower", 1.0)
            at = found.values(twin, axis)
            panels.append(curves(SHORT[measure], metric, series, at, title, axis=shares(metric)))
        drawing = _figure(
            axis,
            f"And against {title}?",
            panels,
            f"A curve a width; what is not on the axis as above: {_where(found, place)}.",
            [(drawn[w], w) for w in widths],
        )
        if drawing is not None:
            parts.append(drawing)
    return parts


def _figure(
    name: str,
    title: str,
    panels: Sequence[Panel | None],
    caption: str,
    legend: Sequence[tuple[Mark, str]],
    beside: Sequence[tuple[Mark, str]] = (),
) -> Figure | None:
    there = tuple(panel for panel in panels if panel is not None)
    if not there:
        return None
    key = "Bars: 95 % interval over seeds."
    return Figure(name, title, key, (Strip("", there),), caption, tuple(legend), tuple(beside))


def _widths_table(found: Found, twin: str, place: Place) -> Table:
    """A row a number, a column a width."""
    widths = found.widths(twin, place)
    wanted = [(measure, "value") for measure in ("fvu_reference", "fvu_twin", SURVIVAL, R)]
    wanted += [(measure, column) for measure in ALIGNED for column in COLUMNS]
    rows = []
    for measure, column in wanted:
        cells = [found.estimate(twin, place, width, measure, column) for width in widths]
        if any(cell is not None and cell["value"] is not None for cell in cells):
            told = f"{SHORT[measure]}: {COLUMNS.get(column, column)}".removesuffix(": ")
            unit = "" if column == "normalised" else UNITS.get(measure, "")
            rows.append((told, *(margin(cell, unit) for cell in cells)))
    return Table(
        (Column("measure"), *(Column(width, numeric=True) for width in widths)),
        tuple(rows),
        f"{_where(found, place)}. ± is the longer half of the 95 % interval over seeds. One seed: "
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


def _flows(found: Found, twin: str) -> list[Part]:
    place = found.main(twin)
    rows = []
    for width, flows in found.flows(twin, place):
        for before, name in enumerate(CATEGORIES):
            counts = [sum(flow[before][after] for flow in flows) / len(flows) for after in range(4)]
            rows.append((width, name, *(figure(n) if n else "0" for n in counts)))
    titles = (Column("width"), Column("in the reference"))
    return [
        Table(
            (*titles, *(Column(f"{name} in {twin}", numeric=True) for name in CATEGORIES)),
            tuple(rows),
            "Latents of the reference's SAE by how often they fire on either model, mean over "
            "seeds. Rare: at less than 1 % of positions; frequent: at half of them or more.",
        )
    ]


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


def _method(found: Found) -> tuple[Part, ...]:
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
