"""What is drawn of a study of trained SAEs? Against width, and against what else was varied."""

from collections.abc import Sequence

from bitlens.report.charts.axes import Axis
from bitlens.report.charts.palette import Mark, marks
from bitlens.report.page.parts import Figure, Panel, Strip
from bitlens.results.records import Metric
from bitlens.sae.alignment.compare import BEST, SHARED
from bitlens.workflows.sae_study.curves import CEILING, CHANCE, NULL, curves, shares
from bitlens.workflows.sae_study.found import Place, StudyResults
from bitlens.workflows.sae_study.measures import ALIGNED, IN_SAMPLE, SHORT, SURVIVAL, UNITS, R


def against_width(found: StudyResults, twin: str) -> tuple[Figure, ...]:
    """Trained on either model, between chance and seed ceiling, and read frozen."""
    place = found.main(twin)
    own = marks([twin])[twin]
    return tuple(
        part
        for part in (
            _figure(
                "alignment",
                "Are SAEs that were trained on either model alike?",
                [_retrained(found, twin, place, measure, own) for measure in ALIGNED],
                f"SAEs of the reference against those of {twin}, of different seeds; random "
                "directions have the twin's mean and covariance, those without structure are "
                f"uniform. {found.where(place)}.",
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


def _retrained(
    found: StudyResults, twin: str, place: Place, measure: str, own: Mark
) -> Panel | None:
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


def _normalised(
    found: StudyResults, twin: str, place: Place, measure: str, own: Mark
) -> Panel | None:
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


def _frozen(found: StudyResults, twin: str, place: Place, measure: str, own: Mark) -> Panel | None:
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


def along_axes(found: StudyResults, twin: str) -> list[Figure]:
    """Every other axis of which more than one value was run at the main place's others."""
    place, parts = found.main(twin), list[Figure]()
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
            f"A curve a width; what is not on the axis as above: {found.where(place)}.",
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
