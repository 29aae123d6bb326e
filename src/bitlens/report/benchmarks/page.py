"""The page of benchmarks that were run alone."""

from pathlib import Path

from bitlens.report.benchmarks.parts import parts_of
from bitlens.report.benchmarks.shown import visible_benchmarks
from bitlens.report.charts.palette import marks
from bitlens.report.page.html import html
from bitlens.report.page.parts import Page, Section
from bitlens.results.benchmarks.folder import REPORT, Benchmarked, read_benchmarks
from bitlens.results.counts import count
from bitlens.results.files.names import inside
from bitlens.results.files.writing import write


def build(folder: Path) -> Path:
    """Write the page of a folder of benchmarks; its path. BitlensError for what is damaged."""
    found = visible_benchmarks(read_benchmarks(folder))
    path = inside(folder, REPORT)
    write(path, html(page(found)).encode())
    return path


def page(found: Benchmarked) -> Page:
    """Everything, as parts."""
    (model,) = found.models
    drawn = marks(found.twins(model, control=False))
    questions = sum(task.questions for task in found.tasks)
    subtitle = (
        f"Each twin beside the reference, the model as given, on "
        f"{count(questions, 'question')} of {', '.join(found.benchmarks(model))}. bitlens "
        f"{found.about['tool']['version']}."
    )
    failed = next(m["failed"] for m in found.about["models"] if m["name"] == model)
    section = Section.stating("benchmarks", "Benchmarks", parts_of(found, model, drawn))
    title = f"What compression changed in the answers of {model}"
    if failed:
        subtitle += f" Could not be made: {', '.join(failed)}."
    return Page(title, subtitle, (section,), tuple(drawn.items()))
