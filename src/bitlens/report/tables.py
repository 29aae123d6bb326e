"""The summary tables of an audit as text for papers and pull requests: LaTeX or Markdown."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Literal

from bitlens.report.audit_results import AuditResults
from bitlens.report.page import latex as as_latex
from bitlens.report.page import markdown as as_markdown
from bitlens.report.page.parts import Table
from bitlens.report.text.summary_table import SUMMARY, summary_table
from bitlens.results.counts import count
from bitlens.results.files.names import sanitise

TableFormat = Literal["latex", "markdown"]
WIDE = ("perplexity", "RMS Δp", "KL 50 %")
"""Columns that are left out: each is near to one that stays."""


CONTROL = " (control)"
"""What the name of a control ends with, for which a page of paper has no room."""


def tables(results: AuditResults, form: TableFormat) -> bytes:
    """A table a model: every twin and control with its margins and units, and where it is from."""
    written: dict[TableFormat, Callable[[AuditResults, str], str]]
    written = {"latex": _latex, "markdown": _markdown}
    return "\n\n".join(written[form](results, model) for model in results.models).encode() + b"\n"


def with_units(results: AuditResults, model: str) -> Table:
    """The summary table without what no paper has room for; its titles say the unit that its cells
    leave out."""
    table = without(summary_table(results, model), WIDE)
    units = {
        title: results.metrics[name].unit for title, name in SUMMARY if name in results.metrics
    }
    columns = (
        replace(column, title=f"{column.title} ({unit})")
        if (unit := units.get(column.title, "")) not in ("", "share")
        else column
        for column in table.columns
    )
    return replace(table, columns=tuple(columns))


def without(table: Table, titles: Collection[str]) -> Table:
    """The same table without some columns."""
    kept = [n for n, column in enumerate(table.columns) if column.title not in titles]
    rows = tuple(tuple(row[n] for n in kept) for row in table.rows)
    clauses = table.caption.split("; ")
    told = [one for one in clauses if not one.startswith(tuple(f"{title}:" for title in titles))]
    columns = tuple(table.columns[n] for n in kept)
    return replace(table, columns=columns, rows=rows, caption="; ".join(told))


def _latex(results: AuditResults, model: str) -> str:
    table = with_units(results, model)
    rows = tuple((row[0].removesuffix(CONTROL), *row[1:]) for row in table.rows)
    controls = [short for short, row in zip(rows, table.rows, strict=True) if short[0] != row[0]]
    told = f" Controls are the last {count(len(controls), 'row')}." if controls else ""
    caption = f"{model} beside its twins.{told} {table.caption}"
    label = sanitise(model).replace("_", "-")
    text = as_latex.latex(replace(table, rows=rows, caption=caption), f"bitlens-{label}")
    return f"% {origin(results, model)}\n% \\usepackage{{booktabs}}\n{text}"


def _markdown(results: AuditResults, model: str) -> str:
    title = as_markdown.escaped(model)
    text = as_markdown.markdown(with_units(results, model))
    return f"### {title}\n\n{text}\n\n{as_markdown.escaped(origin(results, model))}"


def origin(results: AuditResults, model: str) -> str:
    """Which version measured it on what, in one line."""
    texts = "; ".join(
        f"{corpus['name']}, token hash {corpus['token_hash'][:12]}"
        for corpus in results.manifest["corpora"]
        if corpus["model"] == model
    )
    weights = results.about(model)["fingerprint"][:12]
    version = results.manifest["tool"]["version"]
    return " ".join(f"bitlens {version}; weights {weights}; {texts}".split())
