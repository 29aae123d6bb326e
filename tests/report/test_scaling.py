"""The section of a study that sets models against their size."""

from dataclasses import replace
from pathlib import Path

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.palette import marks
from bitlens.report.page.parts import Figure, Statement, Table
from bitlens.report.scaling import scaling
from bitlens.report.text.numbers import margin
from tests.support.audit_stores import write_store

MODELS = ("e", "d", "c", "b", "a")


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> AuditResults:
    """Five models, the first the smallest, each larger one with half the KL of the one before."""
    root = write_store(Path(tmp_path_factory.mktemp("five")) / "results", MODELS)
    found = AuditResults.read(root)
    models = [
        {**model, "parameters": 10**6 * 2 ** MODELS.index(model["name"])}
        for model in found.manifest["models"]
    ]
    shrunk = [
        {**row, "value": row["value"] / 2 ** MODELS.index(row["model"]), "low": None, "high": None}
        if (row["metric"], row["value"] is None) == ("kl", False)
        else row
        for row in found.estimates
    ]
    return replace(found, manifest={**found.manifest, "models": models}, estimates=shrunk)


def of(results: AuditResults, *models: str) -> AuditResults:
    """The results of some of the models."""
    kept = {
        "models": [m for m in results.manifest["models"] if m["name"] in models],
        "twins": [t for t in results.manifest["twins"] if t["model"] in models],
    }
    return replace(results, manifest={**results.manifest, **kept})


def shown(results: AuditResults) -> tuple[Statement, Figure, Table]:
    drawn = marks([t.compression for m in results.models for t in results.twins(m)])
    statement, figure, table = scaling(results, drawn)
    assert isinstance(statement, Statement)
    assert isinstance(figure, Figure)
    assert isinstance(table, Table)
    return statement, figure, table


def test_a_trend_over_five_models_is_told(five: AuditResults) -> None:
    """The KL of every compression falls with size: a rank correlation of -1, p = 2 / 120 each."""
    statement, figure, _ = shown(five)
    assert statement.text == "KL divergence falls with size in rtn:bits=8."
    assert "rank correlation −1.00 over 5 models, q = 0.017" in statement.numbers
    assert [panel.title for panel in figure.strips[0].panels] == ["KL divergence"]


def test_the_surest_trend_is_named(five: AuditResults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the first of those that are sure."""
    found = iter([(-0.9, 0.03), (-1.0, 0.002)])
    monkeypatch.setattr("bitlens.report.scaling.trend", lambda *_: next(found, None))
    compressions = list(dict.fromkeys(t.compression for m in MODELS for t in five.measured(m)))
    statement, *_ = shown(five)
    assert statement.text == f"KL divergence falls with size in {compressions[1]}."


def test_of_fewer_models_none_is(five: AuditResults) -> None:
    """Four in a row may be chance; their numbers stand in the table, the smallest model first,
    as the store has them."""
    few = of(five, "a", "c", "e")
    statement, _, table = shown(few)
    assert statement.text == "3 models are too few for a trend with size."
    assert list(dict.fromkeys(row[0] for row in table.rows)) == ["e", "c", "a"]
    row = few.find("e", table.rows[0][2], "behaviour.kl")
    assert table.rows[0][1] == "1 M"
    assert table.rows[0][3] == margin(row, "nats")


def test_of_models_of_one_size_there_is_no_section(five: AuditResults) -> None:
    """Nor of one model."""
    alike = [{**model, "parameters": 7} for model in five.manifest["models"]]
    same = replace(five, manifest={**five.manifest, "models": alike})
    assert scaling(same, {}) == scaling(of(five, "a"), {}) == ()
