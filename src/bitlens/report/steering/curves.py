"""The chart of dose and response: the effect of a vector at each multiplier, in every model."""

from collections.abc import Mapping, Sequence
from typing import Any

from bitlens.report.charts.axes import Axis, fit
from bitlens.report.charts.channels import channel, having
from bitlens.report.charts.charts import channels, frame, only, point, tooltip
from bitlens.report.charts.layers import Layer
from bitlens.report.charts.palette import CONTROL, INK, Mark
from bitlens.report.page.parts import Figure, Panel, Strip
from bitlens.report.text.few import sayable
from bitlens.results.records import REFERENCE, Metric

METRICS = {
    "effect": Metric(
        "effect", "The log-odds of the tokens.", unit="", worse=None, intact=None, level=True
    ),
    "side_effect": Metric(
        "side_effect", "KL on other texts.", unit="nats", worse="higher", intact=None, level=True
    ),
}
TITLES = {"effect": "The effect", "side_effect": "What it does to other texts"}
RANDOM = Mark(CONTROL, "stroke", "┈")


def responses(run: Mapping[str, Any], name: str, known: Mapping[str, Mark]) -> Figure | None:
    """One metric over the multiplier, of the vector and of random directions; None without any."""
    twins = list(run["twins"])
    rows = [
        sayable(row)
        for row in run["rows"]
        if row["metric"] == name
        and row["value"] is not None
        and row["model"] in (REFERENCE, *twins)
    ]
    if not rows:
        return None
    axis = fit(METRICS[name], rows)
    drawn = any(_kind(row) == "random" for row in rows)
    points = tuple(
        point(
            axis,
            row,
            row["multiplier"],
            who=row["model"],
            kind=_kind(row),
            line=f"{row['model']} {row['direction']}",
        )
        for row in rows
    )
    return Figure(
        name=f"steering-{name.replace('_', '-')}",
        title=f"{TITLES[name]}, by multiplier",
        key=(
            "Dashed: the reference. In a twin's colour: the same vector in the twin, with 95 % "
            "intervals."
            + (
                " Dotted grey: random directions of the same length, in each model."
                if drawn
                else ""
            )
        ),
        strips=(Strip("", (Panel("", frame(axis, _layers(axis, twins, known), 240), points),)),),
        caption=METRICS[name].question,
        legend=tuple((known[twin], twin) for twin in twins),
        controls=((RANDOM, "random directions"),) if drawn else (),
        across=1,
    )


def _layers(axis: Axis, twins: Sequence[str], known: Mapping[str, Mark]) -> list[Layer]:
    x = channel(
        "x:Q",
        title="multiplier",
        scale=having(domain=[-2, 2], padding=8, nice=False),
        axis=having(values=[-2, -1, 0, 1, 2], format="d"),
    )
    y, low = axis.y(), axis.y("lo")
    colour, shape = channels(twins, known)
    told = tooltip(axis, {"who": "model", "x": "multiplier"})
    own, reference, random = map(only, ("twin", "reference", "random"))
    return [
        random.mark_line(color=CONTROL, strokeDash=[1, 3]).encode(x=x, y=y, detail="line:N"),
        reference.mark_rule(color=INK).encode(x=x, y=low, y2="hi:Q"),
        reference.mark_line(color=INK, strokeDash=[5, 3], strokeWidth=2).encode(
            x=x, y=y, tooltip=told
        ),
        own.mark_rule(strokeWidth=1.5).encode(x=x, y=low, y2="hi:Q", color=colour),
        own.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
        own.mark_point(filled=True, size=40, opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=told
        ),
    ]


def _kind(row: Mapping[str, Any]) -> str:
    if row["direction"] != "vector":
        return "random"
    return "reference" if row["model"] == REFERENCE else "twin"
