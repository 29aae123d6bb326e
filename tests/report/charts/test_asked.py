"""A chart that is asked for draws the store's numbers, of all twins in their colours."""

from pathlib import Path
from typing import Any

import pytest
import vl_convert

from bitlens.errors import InputError
from bitlens.report.audit import open_run
from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.palette import CONTROL, marks
from bitlens.report.page.parts import Point
from tests.support.audit_stores import NOISE, RTN


def drawn(store: Path, *metric: str, **which: str) -> tuple[dict[str, Any], list[Point]]:
    """The specification of a chart, and its points."""
    chart: dict[str, Any] = open_run(store).plot(*metric, **which).to_dict()
    (points,) = chart["datasets"].values()
    return chart, points


def test_every_twin_and_control_has_a_row(deep_store: Path, deep: AuditResults) -> None:
    """With value and interval; controls are grey, twins have the page's colours."""
    chart, every = drawn(deep_store)
    points = {point["twin"]: point for point in every}
    for name in (RTN, NOISE):
        row = deep.find("demo", name, "behaviour.kl")
        assert row is not None
        assert points[name]["value"] == pytest.approx(row["value"], rel=1e-6)
        assert points[name]["low"] == pytest.approx(row["low"], rel=1e-6)
    scale = chart["layer"][0]["encoding"]["color"]["scale"]
    colours = dict(zip(scale["domain"], scale["range"], strict=True))
    assert colours[RTN] == marks([twin.compression for twin in deep.measured("demo")])[RTN].colour
    assert colours[NOISE] == CONTROL
    assert vl_convert.vegalite_to_svg(chart).startswith("<svg")


def test_what_is_measured_in_every_block_runs_along_depth(
    deep_store: Path, deep: AuditResults
) -> None:
    """Cumulative errors of the residual stream, unless another kind or item is asked for."""
    _, points = drawn(deep_store, "geometry.cosine", kind="attn", item="local")
    mine = [point for point in points if point["twin"] == RTN]
    known = deep.depth("demo", RTN, "geometry.cosine", kind="attn", item="local")
    assert [point["block"] for point in mine] == [block for block, _ in known]
    assert [point["value"] for point in mine] == pytest.approx(
        [row["value"] for _, row in known], abs=1e-4
    )
    assert drawn(deep_store, "geometry.cosine")[0]["title"]["text"] == (
        "cosine similarity (resid, cumulative)"
    )


@pytest.mark.parametrize(
    ("metric", "which", "said"),
    [
        ("behaviour.kll", {}, "no number behaviour.kll"),
        ("behaviour.kl", {"kind": "resid"}, "no kind 'resid'"),
        ("geometry.cosine", {"item": "lokal"}, "no item 'lokal'"),
    ],
)
def test_what_is_not_there_is_named(
    deep_store: Path, metric: str, which: dict[str, str], said: str
) -> None:
    """With what there is."""
    with pytest.raises(InputError, match=said):
        drawn(deep_store, metric, **which)
