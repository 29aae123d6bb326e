"""A fragment of a model card: what was measured of a twin, how sure it is, and how to repeat it."""

import hashlib

from bitlens.errors import InputError
from bitlens.registry import nearest
from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.headlines import shown
from bitlens.report.hero import hero
from bitlens.report.page.markdown import escaped, markdown
from bitlens.report.page.parts import Column, Command, Table
from bitlens.report.summary import table_of_twins
from bitlens.report.text.doubts import Doubt, doubts
from bitlens.report.text.numbers import amount, figure, plain
from bitlens.report.text.verdict import sentences
from bitlens.results.counts import count
from bitlens.results.records import TOO_FEW, Check, TwinRecord

TITLES = ("value, 95 % interval", "intact", "by chance", "documents")


def card(results: AuditResults, twin: str | None = None) -> str:
    """The twins of that name, or all; in Markdown, without front matter, and the same for every run
    of the same. InputError for a name that no twin has."""
    known = [(model, one) for model in results.models for one in results.twins(model)]
    names = list(dict.fromkeys(one.compression for _, one in known))
    if twin is not None and twin not in names:
        raise InputError(
            f"There is no twin called {twin} in {results.store.root}.",
            f"one of {', '.join(names)}.",
            nearest(twin, names) or f"--twin '{names[0]}'",
        )
    chosen = [(model, one) for model, one in known if twin in (None, one.compression)]
    parts = ["## What compression changed"]
    if len(chosen) > 1:
        heroes = [(model, hero(results, model, one)) for model, one in chosen]
        parts += ["\n".join(table_of_twins(results, heroes))]
    parts += [_twin(results, model, one) for model, one in chosen]
    models = list(dict.fromkeys(model for model, _ in chosen))
    parts += ["### Measured on", *(_measured_on(results, model) for model in models)]
    parts += [_doubted(results, model) for model in models if doubts(results, model)]
    version = results.manifest["tool"]["version"]
    parts += ["### How to repeat it", f"With bitlens {escaped(version)}:"]
    parts += [markdown(Command(results.manifest["command"]))]
    return "\n\n".join(parts) + "\n"


def _twin(results: AuditResults, model: str, twin: TwinRecord) -> str:
    found = hero(results, model, twin)
    word = found.status.word if found.status else "failed"
    facts = ", ".join(
        filter(None, (found.size, f"{found.bits} bits per weight" * bool(found.bits), found.kept))
    )
    told = f"{found.sentence} {found.status.advice if found.status else ''}".strip()
    title = f"### {escaped(twin.compression)} of {escaped(model)}"
    lines = [title, f"**{word}**{f' ({escaped(facts)})' if facts else ''}. {escaped(told)}"]
    failed = [d for d in doubts(results, model) if d.check.passed is False]
    mine = [doubt for doubt in failed if _bears(doubt.check, twin.compression)]
    if mine:
        lines.append("\n".join(map(_doubt, mine)))
    if twin.status == "done":
        lines.append("\n".join(f"- {escaped(one)}" for one in sentences(results, model, twin)))
    rows = [_row(results, title, row) for title, row in shown(results, model, twin.compression)]
    if rows:
        columns = (Column("measure"), *(Column(t, numeric=True) for t in TITLES))
        lines.append(markdown(Table(columns, tuple(rows))))
    return "\n\n".join(lines)


def _bears(check: Check, name: str) -> bool:
    return not check.twins or name in check.twins


def _doubt(doubt: Doubt) -> str:
    """As the sentences that rest on it are marked."""
    return f"- {doubt.mark} {escaped(doubt.check.name)}: {escaped(doubt.check.detail)}"


def _doubted(results: AuditResults, model: str) -> str:
    of = f" of {escaped(model)}" if len(results.models) > 1 else ""
    told = map(_doubt, doubts(results, model))
    return "\n".join([f"Checks{of} that did not pass (✗) or could not be decided (?):\n", *told])


def _row(results: AuditResults, title: str, row: Row) -> tuple[str, ...]:
    unit = results.metrics[f"{row['analysis']}.{row['metric']}"].unit
    value = amount(row, unit)
    if row["low"] is None and row["reason"] not in (None, TOO_FEW):
        value += f" ({row['reason']})"
    ends = ("–" if row[end] is None else figure(row[end], unit) for end in ("intact", "chance"))
    return (title, value, *ends, f"{row['documents']:,}")


def _measured_on(results: AuditResults, model: str) -> str:
    about = results.about(model)
    revision = f", revision {about['revision']}" if about["revision"] else ""
    facts = [f"reference: {model}{revision}, weights {about['fingerprint']}"]
    for corpus in results.manifest["corpora"]:
        if corpus["model"] == model:
            read = f"{count(corpus['documents'], 'document')}, {count(corpus['tokens'], 'token')}"
            facts.append(f"text: {corpus['name']}, {read}, token hash {corpus['token_hash']}")
    for sae in about["saes"]:
        fvu = "" if sae["fvu"] is None else f", {plain(100 * sae['fvu'], 1)} % unexplained"
        facts.append(f"SAE: {sae['label']} at {sae['site']}{fvu}, weights {sae['fingerprint']}")
    facts.append(f"settings, and all else that a number hangs on: {_settings(results, model)}")
    versions = results.manifest["versions"]
    facts.append("libraries: " + ", ".join(f"{name} {versions[name]}" for name in sorted(versions)))
    return "\n".join(f"- {escaped(fact)}" for fact in facts)


def _settings(results: AuditResults, model: str) -> str:
    """A hash over the identities of a model's cells: it changes when anything does that one of
    their numbers depends on, weights, tokens and versions included, and not from run to run."""
    ids = sorted(cell["id"] for cell in results.manifest["cells"] if cell["model"] == model)
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
