"""The summary of an audit fits a comment on a pull request."""

from dataclasses import replace
from pathlib import Path

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.hero import heroes
from bitlens.report.page.markdown import escaped
from bitlens.report.summary import summary
from tests.support.audit_stores import write_store


def test_every_twin_has_a_row_and_a_sentence(results: AuditResults) -> None:
    """Its word, and the sentence of the page; what failed stands above, hashes below."""
    told = summary(results)
    lines = told.splitlines()
    assert lines[0] == "# What compression changed in demo"
    assert lines[2].startswith("- ✗ finite activations: ")
    for hero in heroes(results, "demo"):
        name = escaped(hero.twin.compression)
        word = hero.status.word if hero.status else "failed"
        assert any(line.startswith(f"| {name} | {word} | ") for line in lines)
        assert f"- **{name}: {word}.** {escaped(hero.sentence)}" in told
    assert "weights 5d1c; demo evaluation texts, token hash 9f2c1ab04d7e" in told


def test_the_worst_sae_of_each_twin_stands_in_one_column(deep: AuditResults) -> None:
    """With its place in the cell, which differs from twin to twin."""
    head, _, *rows = [line for line in summary(deep).splitlines() if line.startswith("|")]
    assert head.count("features that survive") == 1
    place = [cell.strip() for cell in head.split("|")].index("features that survive")
    measured = rows[: len(deep.measured("demo"))]
    assert all(" in block " in row.split("|")[place] for row in measured)


def test_models_have_a_column_and_names_stay_text(study: AuditResults) -> None:
    """One table for all of them; no HTML, no link."""
    told = summary(study)
    assert sum(line.startswith("| ---") for line in told.splitlines()) == 1
    assert told.startswith("# What compression changed in demo, ")
    assert "| model | twin | word |" in told
    assert "<img" not in told.replace(r"\<img", "")


@pytest.mark.slow
def test_it_has_sixty_lines_at_most(tmp_path: Path) -> None:
    """Also of three models with forty twins each, ten checks that failed; what is left out is
    counted."""
    twins = {f"rtn:bits=4,group={16 * n}": 0.01 * n for n in range(1, 37)}
    known = AuditResults.read(write_store(tmp_path / "many", ("a", "b", "c"), twins, blocks=1))
    check = next(c for c in known.manifest["checks"] if c["passed"] is False)
    checks = [{**check, "name": f"check {n}"} for n in range(10)]
    told = summary(replace(known, manifest={**known.manifest, "checks": checks}))
    assert len(told.splitlines()) <= 60
    assert "100 twins more: in `report.html`." in told
    assert "failed checks more: in `report.html`." in told
