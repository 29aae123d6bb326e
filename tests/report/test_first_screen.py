"""The overview has every score with its interval, and shades that follow it."""

import re
from dataclasses import replace

from bitlens.report.audit_results import AuditResults
from bitlens.report.build import page
from bitlens.report.charts.palette import marks
from bitlens.report.first_screen import matrix
from bitlens.report.page.markdown import markdown
from bitlens.report.page.parts import Matrix, Part, Prose, ScoreCell, Section
from tests.support.audit_stores import RTN, Numbers, with_rows


def drawn(results: AuditResults) -> Matrix:
    """The overview of the one model."""
    return matrix(results, "demo", marks([twin.compression for twin in results.twins("demo")]))


def outputs(results: AuditResults, numbers: Numbers) -> ScoreCell:
    """A twin's cell of the outputs, for a share of positions with the same top token."""
    found = drawn(with_rows(results, behaviour__same_top__logits=numbers))
    at = [title for title, _ in found.columns].index("Outputs")
    return next(cells[at] for name, _, cells in found.rows if name == RTN)


def test_a_cell_is_a_score_with_its_interval(deep: AuditResults) -> None:
    """Of a share whose chance is nought the score is the share itself."""
    cell = outputs(deep, (0.843, 0.832, 0.853))
    chance = float(cell.told.rpartition("chance ")[2].split()[0]) / 100
    expected = [100 * (x - chance) / (1 - chance) for x in (0.843, 0.832, 0.853)]
    assert cell.text == f"{expected[0]:.1f} %"
    assert cell.interval == f"[{expected[1]:.1f}, {expected[2]:.1f}]"
    assert cell.step == round(10 - expected[0] / 10)
    assert cell.told.startswith("behaviour.same_top: 84.3 % [83.2, 85.3]; intact 100 %")


def test_without_an_interval_there_is_none_in_the_cell(deep: AuditResults) -> None:
    """Rather than one of no length."""
    assert outputs(deep, (0.843, None, None)).interval == ""


def test_the_overview_reads_as_a_table(deep: AuditResults) -> None:
    """A row a twin that was measured, a cell a family, in Markdown too."""
    found = drawn(deep)
    lines = [line for line in markdown(found).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(deep.measured("demo"))
    assert all(line.count("|") == len(found.columns) + 2 for line in lines)


def test_a_failed_check_greys_what_rests_on_it(deep: AuditResults) -> None:
    """A text that the reference cannot read: every section but those that read no text, and every
    cell but the heads', says so; a check that passed greys nothing."""
    failed = {"name": "readable text", "passed": False, "detail": "nobody can read it"}
    check = {**failed, "bears_on": "text", "model": "demo", "twins": []}
    whole = replace(deep, manifest={**deep.manifest, "checks": [check]})
    sections = {section.anchor: section for section in page(whole).sections}
    assert sections["quality"].doubts == ("readable text: nobody can read it",)
    assert sections["compressed"].doubts == ()
    (shown,) = (part for part in _inside(sections["verdict"]) if isinstance(part, Matrix))
    doubted = {
        title: {cells[column].doubted for _, _, cells in shown.rows}
        for column, (title, _) in enumerate(shown.columns)
    }
    assert doubted["Outputs"] == doubted["Features"] == {True}
    sure = replace(deep, manifest={**deep.manifest, "checks": [{**check, "passed": True}]})
    assert not any(section.doubts for section in page(sure).sections)


def _inside(section: Section) -> list[Part]:
    """A section's parts, and those of the sections in it."""
    return [
        one
        for part in section.parts
        for one in (_inside(part) if isinstance(part, Section) else [part])
    ]


def test_the_lead_says_what_the_checks_said(results: AuditResults) -> None:
    """The lead says how many passed, how many failed, and which could not be decided."""
    first = next(part for part in page(results).sections[0].parts if isinstance(part, Prose))
    assert re.search(
        r"\d of \d checks passed; 2 failed; 1 could not be decided \([^)]+\)\.", first.text
    )
