"""An analysis without a section of its own: every metric between intact, chance and noise."""

from dataclasses import replace

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.build import page
from bitlens.report.page.markdown import markdown
from bitlens.report.page.parts import Details, Prose, Section, Table
from bitlens.report.sections import generic as module
from bitlens.report.sections.generic import generic, unclaimed
from tests.support.plugin_results import with_plugin

RTN = "rtn:bits=4,group=64"


@pytest.fixture
def extended(results: AuditResults) -> AuditResults:
    """A store in which a plug-in's analysis was run."""
    return with_plugin(results, "demo")


def parts_of(extended: AuditResults, metric: str) -> tuple:
    """What stands under one metric of the plug-in."""
    found = generic(extended, "demo", "curvature")
    sections = {part.anchor: part.parts for part in found if isinstance(part, Section)}
    return sections[f"curvature-{metric}"]


def test_every_metric_stands_between_intact_chance_and_noise(extended: AuditResults) -> None:
    """A row a site and twin: value with interval, what it is read beside, how sure it is."""
    about, table = parts_of(extended, "bend")
    assert about == Prose("How sharply does the stream turn? Higher is worse. Source: A plug-in.")
    assert isinstance(table, Table)
    titles = [column.title for column in table.columns]
    assert titles[:2] == ["site", "compression"], "no item, no column for it"
    rows = {row[:2]: dict(zip(titles, row, strict=True)) for row in table.rows}
    assert len(rows) == len(table.rows) == 2 * 3
    cells = rows["resid.1", RTN]
    noise = extended.find("demo", f"noise:like=[{RTN}]", "curvature.bend", "resid.1")
    own = extended.find("demo", RTN, "curvature.bend", "resid.1")
    assert noise
    assert own
    share = f"{100 * own['value']:.1f}"
    assert cells["value"].startswith(f"{share} % [")
    assert cells["intact"] == "0 %"
    assert cells["under noise"].startswith(f"{100 * noise['value']:.1f} % [")
    assert (cells["chance"], cells["difference"]) == ("90.0 %", "q = 0.004")


def test_what_is_not_known_is_a_dash(extended: AuditResults) -> None:
    """A level has no intact value; where no noise was run there is none to stand beside."""
    _, table = parts_of(extended, "length")
    assert table.rows[0] == ("embed", "twin", "rtn:bits=8", "7.00", "–", "–", "7.00", "–")
    twins = [twin for twin in extended.manifest["twins"] if not twin["like"]]
    bare = replace(extended, manifest={**extended.manifest, "twins": twins})
    _, table = parts_of(bare, "bend")
    assert table.rows[0][-2:] == ("–", "–")


def test_long_tables_are_folded(extended: AuditResults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six rows, where five are the most that stand open."""
    monkeypatch.setattr(module, "MOST", 5)
    _, fold = parts_of(extended, "bend")
    assert isinstance(fold, Details)
    assert fold.summary == "6 numbers"


@pytest.mark.slow
def test_only_what_no_section_shows(extended: AuditResults, results: AuditResults) -> None:
    """The page has it once, after all of ours; without a plug-in it has none."""
    titles = [section.title for section in page(extended).sections]
    assert titles.index("curvature") == len(titles) - 3
    assert "curvature" not in [section.title for section in page(results).sections]
    assert unclaimed(extended, {"behaviour"}) == ["geometry", "curvature"]


def test_an_analysis_that_failed_says_so(extended: AuditResults) -> None:
    """Its metrics are known, and there is no number."""
    rows = [row for row in extended.estimates if row["analysis"] != "curvature"]
    (said,) = generic(replace(extended, estimates=rows), "demo", "curvature")
    assert "no numbers of the analysis" in markdown(said)
