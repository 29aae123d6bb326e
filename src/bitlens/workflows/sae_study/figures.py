"""The figures of a study of trained SAEs: against width, and against what else was varied."""

from collections.abc import Sequence

from bitlens.report.charts.axes import Axis
from bitlens.report.charts.palette import Mark, marks
from bitlens.report.page.parts import Figure, Panel, Strip
from bitlens.results.records import Metric
from bitlens.sae.alignment.compare import BEST, SHARED
from bitlens.workflows.sae_study.curves import CEILING, CHANCE, NULL, Series, curves, shares
from bitlens.workflows.sae_study.found import TwinResults
from bitlens.workflows.sae_study.measures import ALIGNED, IN_SAMPLE, SHORT, SURVIVAL, UNITS, R


def against_width(found: TwinResults) -> tuple[Figure, ...]:
    """Trained on either model, between chance and seed ceiling, and read frozen."""
    own = marks([found.twin])[found.twin]
    drawn = (_alignment(found, own), _between(found, own), _frozen_codes(found, own))
    return tuple(figure for figure in drawn if figure is not None)


def _alignment(found: TwinResults, own: Mark) -> Figure | None:
    return _figure(
        "alignment",
        "Are SAEs that were trained on either model alike?",
        [_retrained(found, measure, own) for measure in ALIGNED],
        f"SAEs of the reference against those of {found.twin}, of different seeds; random "
        "directions have the twin's mean and covariance, those without structure are "
        f"uniform. {found.where}.",
        legend=[(own, f"SAEs of {found.twin}")],
        beside=[
            (CEILING, "SAEs of the reference, the seed ceiling"),
            (CHANCE, "random directions, chance"),
            (NULL, "random directions without structure, by formula"),
        ],
    )


def _between(found: TwinResults, own: Mark) -> Figure | None:
    return _figure(
        "normalised",
        "And between chance and seed ceiling?",
        [_normalised(found, measure, own) for measure in ALIGNED],
        "0: as alike as random directions; 1: as alike as SAEs of the reference trained "
        "again. Where the ceiling is hardly above chance, the number says little.",
        legend=[(own, found.twin)],
    )


def _frozen_codes(found: TwinResults, own: Mark) -> Figure | None:
    return _figure(
        "frozen",
        "Does the reference's SAE say the same of the twin?",
        [_frozen(found, measure, own) for measure in (SURVIVAL, R, "fvu_reference")],
        "One SAE on both models, at the same positions: nothing is matched. Survived: "
        "active latents with a correlation above 0.9.",
        legend=[(own, found.twin)],
        beside=[(CEILING, "the reference"), (CHANCE, "other positions, chance")],
    )


def _retrained(found: TwinResults, measure: str, own: Mark) -> Panel | None:
    series = {
        "random directions": (CHANCE, found.curve(measure, "chance")),
        "seed ceiling": (CEILING, found.curve(measure, "ceiling")),
        found.twin: (own, found.curve(measure, "value")),
    }
    if measure == IN_SAMPLE:
        series["random matrices"] = (NULL, found.curve(measure, "null"))
    return _by_width(found, SHORT[measure], _metric(measure), series)


def _normalised(found: TwinResults, measure: str, own: Mark) -> Panel | None:
    series = {found.twin: (own, found.curve(measure, "normalised"))}
    metric = Metric("normalised", "", unit="", worse="lower", intact=1.0)
    axis = Axis(metric=metric, kind="linear", low=-0.5, high=2.0, ticks=(0, 0.5, 1, 1.5))
    return curves(
        SHORT[measure],
        metric,
        series,
        found.widths,
        along="width",
        reference={"chance": 0.0, "ceiling": 1.0},
        axis=axis,
    )


def _frozen(found: TwinResults, measure: str, own: Mark) -> Panel | None:
    if measure == "fvu_reference":
        series = {
            "reference": (CEILING, found.curve(measure, "value")),
            found.twin: (own, found.curve("fvu_twin", "value")),
        }
        return _by_width(found, "FVU", _metric(measure), series)
    series = {
        "other positions": (CHANCE, found.curve(measure, "chance")),
        found.twin: (own, found.curve(measure, "value")),
    }
    return _by_width(found, SHORT[measure], _metric(measure), series)


def _metric(measure: str) -> Metric:
    return Metric(SHORT[measure], "", unit=UNITS.get(measure, ""), worse="lower", intact=1.0)


def _by_width(found: TwinResults, title: str, metric: Metric, series: Series) -> Panel | None:
    axis = shares(metric)
    return curves(title, metric, series, found.widths, along="width", axis=axis)


def along_axes(found: TwinResults) -> list[Figure]:
    """Every other axis of which more than one value was run where most widths were trained."""
    parts = list[Figure]()
    drawn = marks(found.widths)
    for axis, title in (
        ("penalty", found.study.penalty),
        ("epochs", "epochs"),
        ("tokens", "tokens learnt from"),
    ):
        panels = []
        for measure in ("fvu_reference", SURVIVAL, BEST, SHARED, IN_SAMPLE):
            series = {w: (drawn[w], found.along(axis, w, measure)) for w in found.widths}
            if max(len(rows) for _, rows in series.values()) < 2:
                continue
            metric, at = _metric(measure), found.values(axis)
            panel = curves(SHORT[measure], metric, series, at, along=title, axis=shares(metric))
            panels.append(panel)
        drawing = _figure(
            axis,
            f"And against {title}?",
            panels,
            f"A curve a width; what is not on the axis as above: {found.where}.",
            legend=[(drawn[w], w) for w in found.widths],
        )
        if drawing is not None:
            parts.append(drawing)
    return parts


def _figure(
    name: str,
    title: str,
    panels: Sequence[Panel | None],
    caption: str,
    *,
    legend: Sequence[tuple[Mark, str]],
    beside: Sequence[tuple[Mark, str]] = (),
) -> Figure | None:
    there = tuple(panel for panel in panels if panel is not None)
    if not there:
        return None
    return Figure(
        name=name,
        title=title,
        key="Bars: 95 % interval over seeds.",
        strips=(Strip("", there),),
        caption=caption,
        legend=tuple(legend),
        controls=tuple(beside),
    )
