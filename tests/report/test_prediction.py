"""Predicting survival: the table of predictors, calibration, the paper's recipe, reasons."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bitlens import cli
from bitlens.errors import BitlensError
from bitlens.report.audit_results import AuditResults
from bitlens.report.build import page
from bitlens.report.charts.palette import marks
from bitlens.report.page.parts import Details, Figure, Section, Table
from bitlens.report.sections.prediction import predicted, predictions
from bitlens.results.insights.measured import SaeFeatures
from bitlens.results.insights.prediction import PREDICTORS
from tests.support.feature_tables import halves, twin

RTN = "rtn:bits=4,group=64"
NOISE = f"noise:like=[{RTN}]"
FINE = "rtn:bits=8"


@pytest.fixture(scope="module")
def made() -> SaeFeatures:
    """Peaks decide what a 4-bit twin and its noise lose; at 8 bits nothing is lost."""
    found = []
    for number, name in enumerate((RTN, NOISE, FINE)):
        columns = halves(300)
        draw = np.random.default_rng(number)
        weak = columns["peak_first"] * np.exp(0.3 * draw.normal(size=300)) < 2.5
        if name != FINE:
            columns["r_second"] = np.where(weak, 0.6, 0.97)
        one = twin(columns["r_second"], name)
        one.features["peak_reference"] = columns["peak_first"]
        found.append(replace(one, like=RTN if name == NOISE else None, halves=columns))
    return SaeFeatures("demo", "late\u202e", "resid.2", tuple(found))


@pytest.fixture(scope="module")
def section(deep: AuditResults, made: SaeFeatures) -> Section:
    """The section of that SAE."""
    drawn = marks([t.compression for t in deep.twins("demo")])
    found = predictions(deep, "demo", drawn, [made])[2]
    assert isinstance(found, Section)
    return found


def test_every_predictor_has_its_column(section: Section) -> None:
    """Each compression, its noise under it; where all survive, a reason stands in the caption."""
    table = section.parts[0]
    assert isinstance(table, Table)
    titles = [column.title for column in table.columns]
    assert titles[3:9] == list(PREDICTORS)
    rows = {row[0]: dict(zip(titles, row, strict=True)) for row in table.rows}
    assert list(rows) == [FINE, RTN, "– noise of its size"]
    assert rows[RTN]["peak alone"].startswith("0.9")
    assert "±" in rows[RTN]["peak alone"]
    assert rows[FINE]["logistic"] == "–"
    assert rows[FINE]["survived there"] == "100 %"
    assert f"{FINE}: 300 of 300 features survive" in table.caption


def test_calibration_is_drawn_beside_noise(section: Section) -> None:
    """Ten points of the compression and of its noise, and the line of a right predictor."""
    (figure,) = (p for p in section.parts if isinstance(p, Figure))
    (panel,) = figure.strips[0].panels
    kinds = [point["is"] for point in panel.points]
    assert panel.title == RTN
    assert figure.name == "prediction-1-calibration"
    assert (kinds.count("compression"), kinds.count("noise"), kinds.count("same")) == (10, 10, 2)
    own = [point for point in panel.points if point["is"] == "compression"]
    assert sum(point["count"] for point in own) == 300
    assert all(0 <= point[axis] <= 1 for point in own for axis in ("x", "value"))


def test_the_papers_recipe_stands_beside(section: Section) -> None:
    """With its four columns and what its standard deviation is not."""
    (fold,) = (p for p in section.parts if isinstance(p, Details))
    (table,) = fold.parts
    assert isinstance(table, Table)
    assert "not an interval" in table.caption
    rows = {row[0]: row for row in table.rows}
    assert len(rows[RTN]) == 7
    assert rows[FINE][1] == "–"


def test_names_hide_nothing(section: Section) -> None:
    """An SAE's label comes from a folder that we did not name."""
    assert section.title == "SAE late⟨U+202E⟩ (resid.2)"


def test_only_the_first_seed_is_shown(deep: AuditResults, made: SaeFeatures) -> None:
    """Others would be the same row again."""
    later = tuple(replace(t, seed=1, halves={}) for t in made.twins)
    both = replace(made, twins=(*later, *made.twins))
    found = predicted(deep, "demo", both)
    assert {t.seed for t, _ in found.values()} == {0}


@pytest.mark.slow
def test_the_page_asks_only_where_there_are_features(
    results: AuditResults, deep: AuditResults
) -> None:
    """And where a run has no halves, it says so."""
    titles = [section.title for section in page(results).sections]
    assert "Predicting survival" not in titles
    assert "Shared losses" not in titles
    sections = {section.title: section for section in page(deep).sections}
    assert "Shared losses" in sections
    early = sections["Predicting survival"].parts[1]
    assert isinstance(early, Section)
    table = early.parts[0]
    assert isinstance(table, Table)
    assert "did not split its documents" in table.caption


def test_the_command_prints_both_tables(
    deep_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For every SAE of every model, with the reasons of what is missing."""
    cli.insights(deep_store)  # type: ignore[attr-defined]
    told = capsys.readouterr().out
    for label in ("early (resid.0)", "late (resid.2)"):
        assert f"demo: SAE {label}" in told
    assert told.count("Predicting which features survive") == 2
    assert told.count("Shared losses") == 2
    assert "did not split" in told


def test_results_without_features_are_refused(store: Path) -> None:
    """With the command that would have made them."""
    with pytest.raises(BitlensError, match=r"has no features[\s\S]*--sae DIR"):
        cli.insights(store)  # type: ignore[attr-defined]
