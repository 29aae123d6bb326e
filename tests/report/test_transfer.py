"""SAEs spliced in: a chart of all, a table of each, between the mean and the reference's own."""

from dataclasses import replace

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.build import page
from bitlens.report.charts.palette import Mark, marks
from bitlens.report.page.markdown import markdown
from bitlens.report.page.parts import Figure, Prose, Section, Table, figures
from bitlens.report.sections.transfer import transfer
from tests.support.audit_stores import CAST

RTN = "rtn:bits=4,group=64"


@pytest.fixture
def drawn(deep: AuditResults) -> dict[str, Mark]:
    return marks([twin.compression for twin in deep.twins("demo")])


def chart(deep: AuditResults, drawn: dict[str, Mark]) -> Figure:
    """Its one figure."""
    (found,) = (f for part in transfer(deep, "demo", drawn) for f in figures(part))
    return found


def test_every_sae_has_a_panel(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """Every compression and its noise, with the store's numbers: 97 % less 0.3 * 9 %."""
    panels = chart(deep, drawn).strips[0].panels
    assert [panel.title for panel in panels] == ["early (resid.0)", "late (resid.2)"]
    points = {(p["is"], p["who"]): p for p in panels[1].points if "who" in p}
    assert len(points) == 6
    point = points["compression", RTN]
    assert point["x"] == 4.25
    numbers = (point["value"], point["low"], point["high"])
    assert numbers == pytest.approx((0.943, 0.923, 0.963))
    assert points["noise", RTN]["value"] == pytest.approx(0.97 - 0.3 * 0.83 * 0.09)
    assert not [p for p in panels[1].points if p["is"] == "stairs"]


def test_the_reference_is_intact_and_the_mean_is_chance(
    deep: AuditResults, drawn: dict[str, Mark]
) -> None:
    """The line is at the reference's own 97 %, with the cast on it; chance is named where it is
    off the axis."""
    found = chart(deep, drawn)
    lines = [p for p in found.strips[0].panels[1].points if p["is"] == "line"]
    assert lines[0]["value"] == 0.97
    assert lines[0]["name"] == f"intact, {CAST}"
    assert "late (resid.2) chance, 0 % (off the axis)" in found.caption


def test_a_chance_that_is_near_is_drawn(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """Where a splice is worth hardly more than the mean, its line is there."""
    rows = [
        {**row, **{end: row[end] - 0.9 for end in ("value", "low", "high")}}
        if row["metric"] == "loss_recovered"
        else row
        for row in deep.estimates
    ]
    found = chart(replace(deep, estimates=rows), drawn)
    lines = {p["name"]: p["value"] for p in found.strips[0].panels[1].points if p["is"] == "line"}
    assert lines["chance"] == 0.0
    assert "Not drawn" not in found.caption


def test_the_table_has_the_reference_first(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """Then each compression, its noise under it; differences are of the same documents."""
    section = transfer(deep, "demo", drawn)[-1]
    assert isinstance(section, Section)
    assert section.title == "SAE late (resid.2)"
    (table,) = section.parts
    assert isinstance(table, Table)
    assert table.rows[0] == ("reference", "97.0 ±2.0 %", "–", "0.15 ±0.10", "–", "5.00 ±0.20")
    rows = {row[0]: row for row in table.rows}
    assert rows[RTN] == (
        RTN, "94.3 ±2.0 %", "2.7 ±1.0 %", "0.29 ±0.10", "0.14 ±0.05", "5.00 ±0.20",
    )  # fmt: skip
    assert [row[0] for row in table.rows[1:3]] == ["rtn:bits=8", "– noise of its size"]
    assert f"| {RTN} | 94.3 ±2.0 % |" in markdown(section).replace("\\", "")


def test_what_has_no_value_has_a_reason(deep: AuditResults, drawn: dict[str, Mark]) -> None:
    """A site that matters to nothing: no chart, dashes, and why."""
    gone = {"value": None, "low": None, "high": None, "reason": "the mean costs nothing here"}
    names = ("loss_recovered", "recovered_difference")
    rows = [{**r, **gone} if r["metric"] in names else r for r in deep.estimates]
    found = transfer(replace(deep, estimates=rows), "demo", drawn)
    assert not [f for part in found for f in figures(part)]
    section = found[-1]
    assert isinstance(section, Section)
    (table,) = section.parts
    assert isinstance(table, Table)
    assert table.rows[1][1] == "–"
    assert table.rows[1][3] != "–"
    assert table.caption.endswith("Missing: the mean costs nothing here.")


def test_silence_is_said(results: AuditResults, drawn: dict[str, Mark]) -> None:
    """A store without the analysis has a sentence."""
    (part,) = transfer(results, "demo", drawn)
    assert isinstance(part, Prose)
    assert "was not run" in part.text


@pytest.mark.slow
def test_the_page_has_it_after_the_features(deep: AuditResults) -> None:
    """One section of the model's."""
    anchors = [section.anchor for section in page(deep).sections]
    assert anchors[anchors.index("features") + 1] == "transfer"
