"""The summary tables of an audit for papers: every twin, with units, from where it says."""

import re

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.tables import TableFormat, tables, with_units
from bitlens.report.text.numbers import margin
from tests.support.audit_stores import RTN


@pytest.mark.parametrize("form", ["latex", "markdown"])
def test_every_model_has_its_table(study: AuditResults, form: TableFormat) -> None:
    """As many rows as twins and controls were measured, and the reference; nothing that a name
    holds breaks one."""
    text = tables(study, form).decode()
    rows = sum(
        1 + len(study.measured(model)) + len(study.controls(model)) for model in study.models
    )
    if form == "latex":
        assert text.count(r"\begin{tabular}") == text.count(r"\bottomrule") == 2
        lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    else:
        lines = [line for line in text.splitlines() if re.match(r"\| (?!---)", line)]
    assert len(lines) == rows + 2
    assert len({len(re.split(r"(?<!\\)[&|]", line)) for line in lines}) == 1
    assert "<" not in re.sub(r"\\<", "", text)


def test_cells_are_those_of_the_page(results: AuditResults) -> None:
    """The margin of the stored interval, under a title with its unit."""
    table = with_units(results, "demo")
    place = [column.title for column in table.columns].index("mean KL (nats)")
    row = next(row for row in table.rows if row[0] == RTN)
    assert row[place] == margin(results.find("demo", RTN, "behaviour.kl"))


def test_a_page_of_paper_has_room_for_it(results: AuditResults) -> None:
    """What is near to another column is left out, in the caption too; controls come last."""
    table = with_units(results, "demo")
    assert len(table.columns) <= 9
    assert "RMS" not in table.caption
    text = tables(results, "latex").decode()
    assert "(control)" not in text
    assert f"Controls are the last {len(results.controls('demo'))} rows." in text


def test_where_it_is_from_stands_beside(results: AuditResults) -> None:
    """Version, weights and tokens, in one comment and under the table."""
    told = "bitlens 0.1.0; weights 5d1c; demo evaluation texts, token hash 9f2c1ab04d7e"
    assert tables(results, "latex").decode().startswith(f"% {told}\n")
    assert tables(results, "markdown").decode().endswith(f"\n\n{told}\n")
