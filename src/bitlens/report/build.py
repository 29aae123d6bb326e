"""The page of a store, put together and written: a pure function of what the store holds."""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bitlens.progress import ProgressBar
from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.axes import words
from bitlens.report.charts.palette import marks
from bitlens.report.first_screen import verdict
from bitlens.report.page.html import html
from bitlens.report.page.parts import Page, Part, Section, figures
from bitlens.report.page.pictures import pictures
from bitlens.report.registration import Marks, sections
from bitlens.report.scaling import scaling
from bitlens.report.sections.generic import generic, unclaimed
from bitlens.report.sections.method import method
from bitlens.report.sections.numbers import numbers
from bitlens.report.sections.validity import validity
from bitlens.report.status import Rules, require_measurable
from bitlens.report.summary import summary
from bitlens.report.text.doubts import failed
from bitlens.results.benchmarks.folder import finished as benched
from bitlens.results.counts import count
from bitlens.results.files.names import inside, sanitise
from bitlens.results.files.writing import write
from bitlens.results.records import TEXT
from bitlens.results.sensitivity.folder import finished


def build(store_path: Path, rules: Rules | None = None, *, pictured: bool = False) -> Path:
    """Write report.html and summary.md into a store; the path of the page.
    `rules` gives twins their words; None: the rules that come with bitlens. `pictured`: every
    figure too, into charts/ (SVG, PDF, PNG, and its caption as text). Of the folder of a
    sensitivity run or of benchmarks alone, its page alone.

    Every file appears whole or not at all. BitlensError where there is no store,
    and for a rule on a number that was not measured.
    """
    if benched(store_path):
        from bitlens.report.benchmarks.page import build as of_benchmarks

        return of_benchmarks(store_path)
    if finished(store_path):
        from bitlens.report.sensitivity.page import build as of_sensitivity

        return of_sensitivity(store_path)
    with _uncollected():
        return _build(store_path, rules, pictured)


def _build(store_path: Path, rules: Rules | None, pictured: bool) -> Path:
    results = AuditResults.read(store_path, rules)
    if rules is not None:
        require_measurable(rules, results)
    with ProgressBar("report", "parts", 3 + len(results.models) * len(sections())) as bar:
        whole = page(results, bar.step)
        bar.step("writing")
        with results.store.alone():
            charts = inside(store_path, "charts")
            for figure in figures(whole) if pictured else ():
                for name, content in pictures(figure).items():
                    write(inside(charts, name), content)
            write(store_path / "summary.md", summary(results).encode())
            write(store_path / "report.html", html(whole).encode())
        bar.step("done")
    return store_path / "report.html"


@contextmanager
def _uncollected() -> Iterator[None]:
    """Millions of cells of tables, none of them in a circle, that Python would look for again and
    again: a sixth of the time."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def _unheard(_: str) -> None:
    """Nobody waits."""


def page(results: AuditResults, begins: Callable[[str], None] = _unheard) -> Page:
    """Everything, as parts. A study of several models has one section a model. `begins` is told
    what is made next."""
    begins("first screen")
    drawn = marks([t.compression for m in results.models for t in results.twins(m)])
    many = len(results.models) > 1
    parts = [
        Section.stating("verdict", "Verdict", verdict(results, drawn)),
        Section.stating("validity", "Validity", validity(results)),
    ]
    if many and (parts_of := scaling(results, drawn)):
        parts.append(Section.stating("scaling", "Against size", parts_of))
    for model in results.models:
        about = _about(results, model, drawn, begins)
        if many:
            parts.append(Section(f"{results.prefix(model)}model", model, about, model=model))
        else:
            parts += about
    begins("numbers")
    parts += [
        Section.stating("numbers", "All numbers", numbers(results)),
        Section.stating("method", "Method and limits", method(results)),
    ]
    return Page(_title(results), _subtitle(results), tuple(parts), tuple(drawn.items()))


def _about(
    results: AuditResults, model: str, drawn: Marks, begins: Callable[[str], None]
) -> tuple[Section, ...]:
    """The sections of one model: every one that is registered and has something to show, and of
    each analysis that none of them shows the generic one."""
    known = sections()
    prefix = results.prefix(model)
    twins = [twin.compression for twin in results.measured(model)]

    def made(anchor: str, title: str, parts: tuple[Part, ...], uses: Iterable[str]) -> Section:
        against = failed(results, model, uses, twins)
        return Section.stating(f"{prefix}{anchor}", title, parts, against)

    found = []
    for entry in known:
        begins(entry.anchor)
        if parts := entry.write(results, model, drawn):
            found.append(made(entry.anchor, entry.title, parts, entry.uses))
    for analysis in unclaimed(results, {entry.analysis for entry in known}):
        if parts := generic(results, model, analysis):
            found.append(made(sanitise(analysis), words(analysis), parts, [TEXT]))
    return tuple(found)


def _title(results: AuditResults) -> str:
    return f"What compression changed in {', '.join(results.models)}"


def _subtitle(results: AuditResults) -> str:
    texts = {corpus["name"]: corpus["documents"] for corpus in results.manifest["corpora"]}
    said = ", ".join(f"{name} ({count(number, 'document')})" for name, number in texts.items())
    version = results.manifest["tool"]["version"]
    what = "Each compressed twin beside the reference, the model as given"
    return f"{what}, on {said}. bitlens {version}, {results.run['date'][:10]}."
