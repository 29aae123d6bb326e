"""Single features: each active one by its peak, its r and its state."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.channels import channel, constant, having
from bitlens.report.charts.charts import beside, frame, only
from bitlens.report.charts.depth import across
from bitlens.report.charts.palette import CONTROL, INK, NOISE_CURVE, PIECES
from bitlens.report.page.browsers import FeatureBrowser, FeatureRows
from bitlens.report.page.parts import Figure, Panel, Part, Point, Spec, Strip
from bitlens.report.saes import SaeResults
from bitlens.report.sections.contexts import evidence, said
from bitlens.report.sections.prediction import chances
from bitlens.report.twins import farthest

HEIGHT = 240
SAMPLE = 1500
"""Points of a chart at most; more would only be drawn over each other."""
BINS = 10
EDGE = "#5c5c5c"
FIELDS = {
    "latent": "latent",
    "state": "state",
    "sure": "surely",
    "r": "r",
    "r_low": "r from",
    "r_high": "r to",
    "gain": "gain",
    "offset": "offset",
    "concordance": "concordance",
    "rate_reference": "rate, reference",
    "rate_twin": "rate, twin",
    "lost": "firings lost",
    "new": "firings new",
    "f1": "F1",
    "peak_reference": "peak, reference",
    "peak_twin": "peak, twin",
}


def latents(results: AuditResults, model: str, sae: SaeResults, stem: str) -> Iterator[Part]:
    """Peak activation against r with a chart a compression, and every feature to look at."""
    twins = [twin.compression for twin in results.measured(model)]
    rows = {twin: sae.rows(results, model, twin, "features") for twin in twins}
    rows = {twin: found for twin, found in rows.items() if found}
    if not rows:
        return
    known = {twin: [r for r in found if _drawn(r)] for twin, found in rows.items()}
    if any(known.values()):
        yield _figure(results, model, sae, stem=stem, known={t: k for t, k in known.items() if k})
    yield _browser(results, model, sae, stem=stem, rows=rows)


def _drawn(row: Row) -> bool:
    return row["r"] is not None and (row["peak_reference"] or 0) > 0


def _figure(
    results: AuditResults, model: str, sae: SaeResults, stem: str, known: dict[str, list[Row]]
) -> Figure:
    everything = [row for rows in known.values() for row in rows]
    empty = _frame(everything)
    panels = []
    for twin, rows in known.items():
        noise = results.noise(model, twin)
        others = sae.rows(results, model, noise, "features") if noise else []
        points = [_point(twin, row) for row in _sample(rows)]
        points += _band([row for row in others if _drawn(row)])
        panels.append(Panel(twin, empty, (*points, *_guides())))
    thinned = max(map(len, known.values())) > SAMPLE
    sampled = (
        f"At most {SAMPLE:,} features a chart are drawn, evenly by r; the shares above count all. "
        if thinned
        else ""
    )
    return Figure(
        name=f"{stem}-peaks",
        opens="feature",
        title=f"Each feature's peak and its r: {sae.name}",
        key=(
            "Each point is an active feature: its highest activation in the reference across "
            "(log scale), its r up. Grey band: where 80 % of the features lie under weight noise "
            "of the same size, by peak; grey line: their median. Dashed: intact (1) and the cuts "
            "0.9 and 0.5."
        ),
        strips=(Strip("", tuple(panels)),),
        caption=(
            f"{sampled}Under noise itself about one feature in ten lies below the grey band: where "
            "more do, tells the share that survived beside that under noise, which is tested."
        ),
        legend=tuple((mark, name) for name, mark in PIECES.items()),
        controls=beside(results, model, NOISE_CURVE),
        across=across(len(panels)),
    )


def _sample(rows: list[Row]) -> list[Row]:
    """Every k-th feature by r, so that all parts of the chart are thinned alike."""
    if len(rows) <= SAMPLE:
        return rows
    ordered = sorted(rows, key=lambda row: (row["r"], row["latent"]))
    places = np.linspace(0, len(rows) - 1, SAMPLE).round().astype(int)
    return [ordered[place] for place in places]


def _point(who: str, row: Row) -> Point:
    numbers = {
        "x": row["peak_reference"],
        "value": row["r"],
        "low": row["r_low"],
        "high": row["r_high"],
        "gain": row["gain"],
        "rate": row["rate_reference"],
        "lost": row["lost"],
        "new": row["new"],
    }
    short = {name: float(f"{v:.4g}") for name, v in numbers.items() if v is not None}
    return {"is": "feature", "who": who, "item": str(row["latent"]), "state": row["state"], **short}


def _band(rows: list[Row]) -> list[Point]:
    """Median and middle 80 % of r by peak activation, ten bins of as many features each."""
    if len(rows) < 2 * BINS:
        return []
    peaks = np.array([row["peak_reference"] for row in rows])
    r = np.array([row["r"] for row in rows])
    found: list[Point] = []
    for part in np.array_split(np.argsort(peaks, kind="stable"), BINS):
        low, middle, high = np.quantile(r[part], (0.1, 0.5, 0.9))
        found.append(
            {
                "is": "noise",
                "x": float(f"{np.median(peaks[part]):.4g}"),
                "value": round(float(middle), 4),
                "low": round(float(low), 4),
                "high": round(float(high), 4),
            }
        )
    return found


def _guides() -> list[Point]:
    named = {"intact": 1.0, "0.9": 0.9, "0.5": 0.5}
    return [{"is": "line", "value": value, "name": name} for name, value in named.items()]


def _channels() -> dict[str, Any]:
    """What a feature's point shows besides its place: its state, and its numbers when hovered."""
    states = list(PIECES)
    colours = having(domain=states, range=[PIECES[name].colour for name in states])
    shapes = having(domain=states, range=[PIECES[name].shape for name in states])
    numbers = {
        "value": "r",
        "low": "95 % interval from",
        "high": "95 % interval to",
        "gain": "gain",
        "x": "peak activation",
        "rate": "firing rate, reference",
        "lost": "firings lost",
        "new": "firings new",
    }
    told = [
        channel("item:N", title="latent"),
        channel("state:N", title="state"),
        *(channel(f"{n}:Q", title=title, format=".3~g") for n, title in numbers.items()),
    ]
    return {
        "color": channel("state:N", title=None, scale=colours),
        "shape": channel("state:N", title=None, scale=shapes),
        "tooltip": told,
    }


def _frame(rows: Sequence[Row]) -> Spec:
    peaks = [row["peak_reference"] for row in rows]
    least = min(0.0, min(row["r"] for row in rows))
    x = channel(
        "x:Q",
        title="peak activation in the reference (log scale)",
        scale=having(
            type="log", domain=[0.9 * min(peaks), 1.1 * max(peaks)], nice=False, clamp=True
        ),
        axis=having(tickCount=4, format="~g"),
    )
    scale = having(domain=[round(least - 0.03, 3), 1.06], nice=False, zero=False)
    y = channel("value:Q", title="r, reference against twin", scale=scale)
    low, high = channel("low:Q", scale=scale), channel("high:Q", scale=scale)
    line, noise = only("line"), only("noise")
    thin = noise.mark_line(color=EDGE, strokeWidth=0.8)
    middle = noise.mark_line(color=EDGE, strokeWidth=1.8)
    layers = [
        noise.mark_area(color=CONTROL, opacity=0.3).encode(x=x, y=low, y2="high:Q"),
        line.mark_rule(color=INK, strokeDash=[5, 4], strokeWidth=0.8).encode(y=y),
        only("feature")
        .mark_point(filled=True, size=16, opacity=0.75)
        .encode(x=x, y=y, **_channels()),
        # Once more over the points, which may hide the band.
        *(edge.encode(x=x, y=end) for edge, end in ((thin, low), (thin, high), (middle, y))),
        line.mark_text(align="left", baseline="bottom", dx=3, color="#444444", fontSize=10).encode(
            x=constant(0), y=y, text="name:N"
        ),
    ]
    return frame(None, layers, HEIGHT)


def _browser(
    results: AuditResults, model: str, sae: SaeResults, stem: str, rows: dict[str, list[Row]]
) -> FeatureBrowser:
    held = []
    for twin, found in rows.items():
        noise = results.noise(model, twin)
        others = sae.rows(results, model, noise, "features") if noise else []
        under = {row["latent"]: row["r"] for row in others}
        likely = chances(results, model, sae, twin)
        table = tuple(
            (*(row[field] for field in FIELDS), under.get(n), likely.get(n))
            for row in found
            for n in (row["latent"],)
        )
        held.append(FeatureRows(twin, sae.active(results, model, twin) or len(found), table))
    shown = evidence(results, model, sae, rows)
    return FeatureBrowser(
        name=f"{stem}-browser",
        sae=sae.label,
        columns=(*FIELDS.items(), ("noise", "r under noise"), ("predicted", "predicted")),
        twins=tuple(held),
        shown=farthest(results, model, list(rows)),
        caption=f"SAE {sae.name}: every feature that is active in the reference or in the twin, "
        "those that changed most first; a click on a number opens it. r under noise: under weight "
        "noise of the same size. rate: share of positions a feature fires on. surely: is r above "
        "or below 0.9 with its whole interval? predicted: how probable its survival looks from the "
        f"reference alone, fitted on other features.{said(shown, rows)}",
        evidence=shown,
    )
