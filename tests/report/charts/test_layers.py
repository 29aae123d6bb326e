"""Layers of charts are what Altair makes of the same steps."""

from typing import Any

import altair as alt
import pytest

from bitlens.report.charts.layers import Layer

X = alt.X("x:Q", title="bits", scale=alt.Scale(domain=[0, 1], nice=False))
TOLD = [alt.Tooltip("who:N", title="of"), alt.Tooltip("value:Q", format=".3f")]


def drawn(chart: Any, kind: str) -> Any:
    """The same steps, in whoever's hands."""
    narrowed = chart.transform_filter(alt.FieldEqualPredicate(field="is", equal="noise"))
    narrowed = narrowed.transform_filter("datum.x == 0")
    dot = {"point": alt.OverlayMarkDef(color="#888888", size=6)} if kind == "line" else {}
    marked = getattr(narrowed, f"mark_{kind}")(color="#888888", strokeDash=[5, 4], **dot)
    return marked.encode(
        x=X,
        y="y:Q",
        y2="hi:Q",
        color=alt.Color("who:N", title=None),
        tooltip=TOLD,
        text="name:O",
        size=alt.value(0),
    )


@pytest.mark.parametrize("kind", ["rule", "line", "area", "point", "text", "bar", "rect"])
def test_a_layer_is_what_altair_makes(kind: str) -> None:
    """Filters, mark and every channel, of every kind of mark."""
    theirs = drawn(alt.Chart(alt.NamedData("points")), kind).to_dict(validate=False)
    ours = drawn(Layer(), kind).spec()
    assert ours == {name: theirs[name] for name in ("mark", "encoding", "transform")}


def test_a_step_changes_no_earlier_layer() -> None:
    """One layer may be drawn in several ways."""
    first = Layer().mark_line()
    assert first.encode(x=X).spec() != first.spec()
    assert first.spec() == {"mark": {"type": "line"}, "encoding": {}}
