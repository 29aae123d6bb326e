"""`report`, `view`, `insights`, `card`, `compare`, `export`: what is read off results."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from bitlens.cli import options
from bitlens.cli.terminal import hand_on, log, say, show, width
from bitlens.errors import InputError, ResultsError


def report(
    results: options.Results,
    rules: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rules for the words intact, changed, damaged and broken, in YAML. Without it "
            "those that come with bitlens.",
        ),
    ] = None,
    figures: Annotated[
        bool,
        typer.Option(
            "--figures",
            help="Also write every figure into charts/: SVG, PDF and PNG, 17 and 8.5 cm wide, and "
            "its caption as text.",
        ),
    ] = False,
) -> None:
    """Write the report of results once more."""
    from bitlens.report.build import build
    from bitlens.report.status import read

    log(f"Report: {build(results, read(rules) if rules else None, pictured=figures)}")


def insights(results: options.Results) -> None:
    """Show whether one could know which features die.

    And whether two twins lose the same ones, SAE by SAE. The report of the results has the charts.
    """
    from bitlens.report.audit_results import AuditResults
    from bitlens.report.sections import prediction, shared
    from bitlens.results.insights.measured import measured
    from bitlens.results.insights.shared import pairs

    known = AuditResults.read(results)
    found = {model: measured(known.store, known.named(model)) for model in known.models}
    if not any(found.values()):
        raise ResultsError(
            f"{results} has no features.",
            "results of an audit with the analysis features.",
            "bitlens audit MODEL --sae DIR --to rtn:bits=4 --analyses behaviour,features --out DIR",
        )
    for model, saes in found.items():
        for sae in saes:
            log(f"\n{model}: SAE {sae.name}\n\nPredicting which features survive")
            show(prediction.table(known, model, prediction.predicted(known, model, sae)))
            log("\nShared losses")
            show(shared.table(list(pairs(sae))))


def view(results: options.Results) -> None:
    """Open the report of results in a browser.

    A report that is not there is written first.
    """
    import webbrowser

    from bitlens.report.build import build
    from bitlens.results.files.names import inside

    page = inside(results, "report.html")
    if not page.is_file():
        page = build(results)
    log(f"Report: {page}")
    if not webbrowser.open(page.resolve().as_uri()):
        log("No browser was found here: open the file in one.")


def card(
    results: options.Results,
    twin: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="One twin, by its compression; without it, all."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to; without it, standard output.")
    ] = None,
) -> None:
    """Write a fragment of a model card, in Markdown.

    A table of the twins, what was measured of each, between what bounds, hashes of models, texts,
    SAEs and settings, and how to repeat it.
    """
    from bitlens.report.audit_results import AuditResults
    from bitlens.report.card import card as card_of
    from bitlens.results.files.writing import write

    text = card_of(AuditResults.read(results), twin)
    if out is not None:
        write(out, text.encode())
        log(f"Wrote a model card's fragment to {out}.")
    else:
        hand_on(text.encode())


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders that audits wrote.")
    ],
    out: options.Out,
    by: Annotated[
        str,
        typer.Option(
            metavar="METRIC",
            help="What to rank by: analysis.metric, and @site@item where it has several.",
        ),
    ] = "behaviour.kl",
) -> None:
    """Rank the twins of several audits, each beside the others.

    Differences are taken on the same documents; where two runs did not read the same, it says why.
    """
    from bitlens.report.comparison.compared import Compared
    from bitlens.report.comparison.page import headline, ranking_table, refusals
    from bitlens.report.comparison.write import FILES, write_comparison
    from bitlens.workflows.folders import refuse_foreign

    refuse_foreign(out, "compare", "compare wrote", lambda path: path.name in FILES)
    compared = Compared.read(runs, by)
    page = write_comparison(compared, out)
    say(f"{headline(compared)}.")
    for group in compared.standings:
        log("")
        show(ranking_table(compared, group, [compared.by]), widest=width())
    for told in refusals(compared, compared.by.analysis):
        log("")
        say(f"Not compared: {told}")
    log(f"\nPage: {page}")


def export(
    results: options.Results,
    format_: Annotated[
        Literal["csv", "json", "parquet", "latex", "markdown", "bibtex", "probes"],
        typer.Option(
            "--format",
            help="csv, json, parquet: every estimate. latex, markdown: the summary table of each "
            "model, for a paper or a pull request. bibtex: the papers that the run rests on. "
            "probes: the probes and what repairs make of them, as safetensors.",
        ),
    ] = "csv",
    table: Annotated[
        Literal["estimates", "categories"],
        typer.Option(help="Of csv, json, parquet: all estimates, or those by kind of text."),
    ] = "estimates",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to; without it, standard output.")
    ] = None,
) -> None:
    """Write estimates as a table, all or the summary."""
    from bitlens.results.files.writing import write

    data, what = _exported(results, format_, table)
    if out is not None:
        write(out, data)
        log(f"Wrote {what} to {out}.")
    elif format_ in ("parquet", "probes") and sys.stdout.isatty():
        raise InputError(f"{format_} is not text.", "a file to write it to.", "--out FILE")
    elif sys.stdout.isatty():
        log(data.decode().removesuffix("\n"))
    else:
        hand_on(data)


def _probes(results: Path) -> tuple[bytes, str]:
    """Probes as a file, and how many. BitlensError for results without any."""
    from bitlens.results.counts import count
    from bitlens.results.store import Store
    from bitlens.workflows.probe_file import probes_of, written

    found = probes_of(Store.open(results))
    if not found:
        raise ResultsError(
            f"{results} has no probe that was repaired for a twin.",
            "results of an audit with probes that read something in the reference.",
            "bitlens audit MODEL --to rtn:bits=4 --analyses probes --out DIR",
        )
    return written(found), count(len(found), "probe")


def _exported(
    results: Path,
    form: Literal["csv", "json", "parquet", "latex", "markdown", "bibtex", "probes"],
    table: Literal["estimates", "categories"],
) -> tuple[bytes, str]:
    """The content of a file, and what it is in words."""
    from bitlens.report.audit_results import AuditResults
    from bitlens.report.bibliography import bibtex
    from bitlens.report.tables import tables
    from bitlens.results.counts import count
    from bitlens.results.export import export as table_of
    from bitlens.results.store import Store

    if form == "latex" or form == "markdown":
        known = AuditResults.read(results)
        return tables(known, form), count(len(known.models), "summary table")
    if form == "bibtex":
        text = bibtex(AuditResults.read(results))
        return text.encode(), count(text.count("\n@") + 1, "source")
    if form == "probes":
        return _probes(results)
    store = Store.open(results)
    rows = store.read_table(table).num_rows
    if table == "categories" and not rows:
        raise ResultsError(
            f"{results} tells no kinds of text apart.",
            "results of an audit with --categories.",
            "bitlens audit MODEL --to rtn:bits=4 --text FILE --categories FIELD --out DIR",
        )
    return table_of(store, form, table), count(rows, "estimate")
