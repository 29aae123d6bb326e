"""Charts of a difference: how much of it each way explains, and how it heaps up on few tokens."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bitlens.report.charts.axes import Axis, fit
from bitlens.report.charts.channels import Channel, channel, having
from bitlens.report.charts.charts import channels, frame, mark_layers, only, point, tooltip
from bitlens.report.charts.layers import Layer
from bitlens.report.charts.palette import CONTROL, NOISE, NOISE_CURVE, Mark
from bitlens.report.page.parts import Figure, Panel, Strip
from bitlens.results.diff.file import NOISE as OF_NOISE
from bitlens.results.diff.file import RANDOM, TWIN
from bitlens.results.records import Metric

WAYS = {
    "explained_mean": "shift",
    "explained_linear_k": "linear, rank k",
    "explained_linear": "linear map",
    "explained_directions": "k directions",
    "explained_dictionary": "SAE",
}
"""What explains a difference, as it stands on the page."""
EXPLAINED = Metric(
    "explained", "How much of the difference is explained?", unit="share", worse=None, intact=None,
    level=True,
)  # fmt: skip
HELD = Metric(
    "held", "How much of the difference is there?", unit="share", worse=None, intact=None,
    level=True,
)  # fmt: skip
KINDS = {TWIN: "compression", OF_NOISE: "noise", RANDOM: "random"}
BAR = Mark(CONTROL, "stroke", "▬")


def explained(run: Mapping[str, Any], known: Mapping[str, Mark]) -> Figure | None:
    """How much each way explains of every difference, a chart a site; None without a number."""
    rows = [r for r in run["rows"] if r["metric"] in WAYS and r["value"] is not None]
    if not rows:
        return None
    axis = fit(EXPLAINED, rows, (0.0,))
    twins = [twin for twin in run["twins"] if any(r["twin"] == twin for r in rows)]
    layers = _ways(axis, twins, known)
    panels = tuple(
        Panel(
            site,
            frame(axis, layers, 260),
            tuple(
                point(axis, r, WAYS[r["metric"]], who=r["twin"], kind=KINDS[r["of"]], shown=r["of"])
                for r in rows
                if r["site"] == site
            ),
        )
        for site in run["sites"]
    )
    controls = [(NOISE, "weight noise of the same size"), (BAR, "random directions")]
    return Figure(
        name="diff-explained",
        title="How much of the difference is explained",
        key="Filled: the twin, with 95 % intervals. Hollow grey: weight noise of its size. Grey "
        "bars: random directions with the twin's lengths and (nearly) second moments.",
        strips=(Strip("", panels),),
        caption="1 is all of it; at 0 it is no better than saying that nothing differs. An SAE "
        "above its grey marks explains more of the twin's difference than of such errors.",
        legend=tuple((known[twin], twin) for twin in twins),
        controls=tuple(controls if run["noise"] else controls[1:]),
        across=2,
    )


def heaps(run: Mapping[str, Any], known: Mapping[str, Mark]) -> Figure | None:
    """What share of a difference is at the largest differences, a chart a site; None without."""
    curves = [{**c, "value": c["share"], "low": None, "high": None} for c in run["curves"]]
    if not curves:
        return None
    axis = fit(HELD, curves, (0.0, 1.0))
    twins = [twin for twin in run["twins"] if any(c["twin"] == twin for c in curves)]
    x = channel(
        "x:Q",
        title="share of the positions, the largest differences first (log scale)",
        scale=having(type="log", domain=[1e-4, 1], nice=False),
        axis=having(
            values=[1e-4, 1e-3, 1e-2, 0.1, 1], labelExpr="format(100 * datum.value, '~g') + ' %'"
        ),
    )
    layers = _curves(axis, twins, known, x)
    panels = tuple(
        Panel(
            site,
            frame(axis, layers, 260),
            tuple(
                point(axis, c, c["positions"], who=c["twin"], kind=KINDS[c["of"]])
                for c in curves
                if c["site"] == site
            ),
        )
        for site in run["sites"]
    )
    return Figure(
        name="diff-heaps",
        title="How few positions hold the difference",
        key="In a twin's colour: the twin. Dashed grey: weight noise of its size.",
        strips=(Strip("", panels),),
        caption="Equal differences everywhere would lie on a curve that ends as it begins: 1 % of "
        "the positions hold 1 %.",
        legend=tuple((known[twin], twin) for twin in twins),
        controls=((NOISE_CURVE, "weight noise of the same size"),) if run["noise"] else (),
        across=2,
    )


def _ways(axis: Axis, twins: Sequence[str], known: Mapping[str, Mark]) -> Iterable[Layer]:
    x = channel(
        "x:N",
        title=None,
        sort=list(WAYS.values()),
        axis=having(labelAngle=-30),
        scale=having(domain=list(WAYS.values())),
    )
    bars = only("random").mark_point(shape="stroke", size=260, color=CONTROL, opacity=1)
    told = tooltip(axis, {"who": "random directions like", "x": "explained by"})
    return [
        bars.encode(x=x, y=axis.y(), tooltip=told),
        *mark_layers(axis, twins, known, x, where="explained by"),
    ]


def _curves(
    axis: Axis, twins: Sequence[str], known: Mapping[str, Mark], x: Channel
) -> Iterable[Layer]:
    colour, _ = channels(twins, known)
    told = tooltip(axis, {"who": "compression", "x": "share of the positions"})
    noise = only("noise").mark_line(color=CONTROL, strokeDash=[4, 3])
    return [
        noise.encode(x=x, y=axis.y(), detail="who:N"),
        only("compression")
        .mark_line(strokeWidth=2)
        .encode(x=x, y=axis.y(), color=colour, tooltip=told),
    ]
