"""Layers of charts are what Altair makes of the same steps."""

from typing import Any

import altair as alt
import pytest

from bitlens.report.charts.channels import channel, constant, equals, having
from bitlens.report.charts.layers import Layer


def theirs(chart: Any, kind: str) -> Any:
    """Altair's channels, in whoever's hands the steps are."""
    about = {
        "x": alt.X(
            "x:Q",
            title="bits",
            scale=alt.Scale(domain=[0, 1], nice=False),
            axis=alt.Axis(format="%", tickCount=5),
        ),
        "color": alt.Color(
            "who:N", title=None, sort=["a", "b"], legend=alt.Legend(gradientLength=9)
        ),
        "shape": alt.Shape("who:N"),
        "tooltip": [alt.Tooltip("who:N", title="of"), alt.Tooltip("value:Q", format=".3f")],
        "size": alt.value(0),
    }
    return drawn(chart, kind, about, alt.FieldEqualPredicate(field="is", equal="noise"))


def ours(chart: Any, kind: str) -> Any:
    """The same with channels of our own."""
    about = {
        "x": channel(
            "x:Q",
            title="bits",
            scale=having(domain=[0, 1], nice=False),
            axis=having(format="%", tickCount=5),
        ),
        "color": channel("who:N", title=None, sort=["a", "b"], legend=having(gradientLength=9)),
        "shape": channel("who:N"),
        "tooltip": [channel("who:N", title="of"), channel("value:Q", format=".3f")],
        "size": constant(0),
    }
    return drawn(chart, kind, about, equals("is", "noise"))


def drawn(chart: Any, kind: str, about: dict[str, Any], noise: Any) -> Any:
    """The same steps."""
    narrowed = chart.transform_filter(noise).transform_filter("datum.x == 0")
    dot = {"point": {"color": "#888888", "size": 6}} if kind == "line" else {}
    marked = getattr(narrowed, f"mark_{kind}")(color="#888888", strokeDash=[5, 4], **dot)
    return marked.encode(y="y:Q", y2="hi:Q", text="name:O", **about)


@pytest.mark.parametrize("kind", ["rule", "line", "area", "point", "text", "bar", "rect"])
def test_a_layer_is_what_altair_makes(kind: str) -> None:
    """Filters, mark and every channel, of every kind of mark."""
    altair = theirs(alt.Chart(alt.NamedData("points")), kind).to_dict()
    assert ours(Layer(), kind).spec() == {
        name: altair[name] for name in ("mark", "encoding", "transform")
    }


def test_a_step_changes_no_earlier_layer() -> None:
    """One layer may be drawn in several ways."""
    first = Layer().mark_line()
    assert first.encode(x="x:Q").spec() != first.spec()
    assert first.spec() == {"mark": {"type": "line"}, "encoding": {}}
