"""The page of benchmarks that were run alone."""

from pathlib import Path

from bitlens.report.benchmarks.parts import parts_of
from bitlens.report.benchmarks.shown import visible_benchmarks
from bitlens.report.charts.palette import marks
from bitlens.report.page.html import html
from bitlens.report.page.parts import Page, Prose, Section
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
    models, asked = found.models, [of.benchmark for of in found.tasks]
    twins = [twin for model in models for twin in found.twins(model, control=False)]
    drawn = marks(list(dict.fromkeys(twins)))
    questions = sum(task.questions for task in found.tasks)
    subtitle = (
        f"Each twin beside the reference, the model as given, on "
        f"{count(questions, 'question')} of {', '.join(dict.fromkeys(asked))}. bitlens "
        f"{found.about['tool']['version']}."
    )
    failed = [
        twin if len(models) == 1 else f"{twin} of {model['name']}"
        for model in found.about["models"]
        for twin in model["failed"]
    ]
    if failed:
        subtitle += f" Without all answers: {', '.join(failed)}."
    sections = [
        Section.stating("benchmarks", "Benchmarks", parts_of(found, model, drawn))
        if len(models) == 1
        else Section.stating(
            f"benchmarks-{n}",
            f"Benchmarks of {model}",
            (Prose(f"The answers of {model}."), *parts_of(found, model, drawn, f"{n}-")),
        )
        for n, model in enumerate(models, 1)
    ]
    title = f"What compression changed in the answers of {' and '.join(models) or 'no model'}"
    return Page(title, subtitle, tuple(sections), tuple(drawn.items()))
