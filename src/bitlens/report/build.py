"""What is on the page, in which order, and where is it written? A pure function of the store."""

from collections.abc import Mapping
from pathlib import Path

from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.palette import Mark, marks
from bitlens.report.page.html import html
from bitlens.report.page.markdown import markdown
from bitlens.report.page.parts import Checklist, Finding, Findings, Page, Part, Section, figures
from bitlens.report.page.pictures import pictures
from bitlens.report.sections.attention import attention
from bitlens.report.sections.compressed import compressed
from bitlens.report.sections.features import features
from bitlens.report.sections.heads import heads
from bitlens.report.sections.layers import layers
from bitlens.report.sections.lens import lens
from bitlens.report.sections.method import method
from bitlens.report.sections.numbers import numbers
from bitlens.report.sections.prediction import prediction
from bitlens.report.sections.quality import overview, quality
from bitlens.report.sections.shared import shared
from bitlens.report.sections.tails import tails
from bitlens.report.sections.transfer import transfer
from bitlens.report.sections.validity import validity
from bitlens.report.text.verdict import doubtful, sentences, summary_table
from bitlens.results.counts import count
from bitlens.results.files.writing import write
from bitlens.results.insights.measured import measured
from bitlens.results.store import inside


def build(store_path: Path) -> Path:
    """Write report.html, summary.md and charts/ (PNG, SVG) into a store; the path of the page.

    Every file appears whole or not at all. BitlensError where there is no store.
    """
    evidence = AuditResults.read(store_path)
    whole = page(evidence)
    with evidence.store.alone():
        charts = inside(store_path, "charts")
        for figure in figures(whole):
            for name, content in pictures(figure).items():
                write(inside(charts, name), content)
        write(store_path / "summary.md", markdown(summary(evidence)).encode())
        write(store_path / "report.html", html(whole).encode())
    return store_path / "report.html"


def page(evidence: AuditResults) -> Page:
    """Everything, as parts. A study of several models has one section a model."""
    drawn = marks([t.compression for m in evidence.models for t in evidence.twins(m)])
    many = len(evidence.models) > 1
    sections = [
        Section("verdict", "Verdict", _findings(evidence, drawn)),
        Section("validity", "Is this measurement valid?", validity(evidence)),
    ]
    for model in evidence.models:
        about = _about(evidence, model, drawn)
        if many:
            sections.append(Section(f"{evidence.prefix(model)}model", model, about))
        else:
            sections += about
    sections += [
        Section("numbers", "All numbers", numbers(evidence)),
        Section("method", "Method and limits", method(evidence)),
    ]
    return Page(_title(evidence), _subtitle(evidence), tuple(sections))


def summary(evidence: AuditResults) -> Page:
    """What a pull request or a model card needs: verdict, table, checks."""
    drawn = marks([t.compression for m in evidence.models for t in evidence.twins(m)])
    sections = (
        Section("verdict", "Verdict", _findings(evidence, drawn)),
        Section("validity", "Is this measurement valid?", validity(evidence)),
    )
    return Page(_title(evidence), _subtitle(evidence), sections)


def _about(evidence: AuditResults, model: str, drawn: Mapping[str, Mark]) -> tuple[Section, ...]:
    """The sections of one model."""
    prefix = evidence.prefix(model)
    outputs = (*quality(evidence, model, drawn), *tails(evidence, model, drawn))
    sections = [
        Section(f"{prefix}compressed", "What was quantized", compressed(evidence, model)),
        Section(f"{prefix}quality", "Quality against bits", outputs),
        Section(f"{prefix}layers", "Layer by layer", layers(evidence, model, drawn)),
        Section(f"{prefix}attention", "Attention", attention(evidence, model, drawn)),
        Section(f"{prefix}heads", "Heads", heads(evidence, model, drawn)),
        Section(f"{prefix}lens", "Logit lens", lens(evidence, model, drawn)),
        Section(f"{prefix}features", "Features", features(evidence, model, drawn)),
        Section(f"{prefix}transfer", "SAEs spliced in", transfer(evidence, model, drawn)),
    ]
    if found := measured(evidence.store, evidence.named(model)):
        known = prediction(evidence, model, drawn, found)
        same = shared(evidence, model, found)
        sections += [
            Section(f"{prefix}prediction", "Could one have known?", known),
            Section(f"{prefix}shared", "Do the same features die?", same),
        ]
    return tuple(sections)


def _findings(evidence: AuditResults, drawn: Mapping[str, Mark]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for model in evidence.models:
        findings = Findings(
            tuple(
                Finding(twin.compression, drawn.get(twin.compression), first, " ".join(more))
                for twin in evidence.twins(model)
                for first, *more in (sentences(evidence, model, twin),)
            )
        )
        doubts = doubtful(evidence, model)
        heading = (Checklist(tuple(doubts)),) if doubts else ()
        about = (*heading, findings, summary_table(evidence, model))
        if len(evidence.models) > 1:
            parts.append(Section(f"{evidence.prefix(model)}verdict", model, about))
        else:
            parts += about
    return (*overview(evidence, drawn), *parts)


def _title(evidence: AuditResults) -> str:
    return f"What compression changed in {', '.join(evidence.models)}"


def _subtitle(evidence: AuditResults) -> str:
    texts = {corpus["name"]: corpus["documents"] for corpus in evidence.manifest["corpora"]}
    said = ", ".join(f"{name} ({count(number, 'document')})" for name, number in texts.items())
    version = evidence.manifest["tool"]["version"]
    return f"Measured on {said}. bitlens {version}, {evidence.run['date'][:10]}."
