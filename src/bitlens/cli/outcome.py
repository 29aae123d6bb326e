"""The outcome of a run in a terminal, or as JSON: a word, a sentence and numbers a twin."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitlens.cli.options import Extent
from bitlens.cli.terminal import Terminal, log, say, show, width
from bitlens.report.audit_results import AuditResults
from bitlens.report.findings.ranking import findings, first
from bitlens.report.hero import Hero, heroes
from bitlens.report.text.doubts import SIGNS
from bitlens.report.text.early_stop import stops
from bitlens.report.text.summary_table import summary_table
from bitlens.report.text.verdict import doubtful, verdicts

COLOURS = {
    "intact": "1",
    "changed": "1;33",
    "damaged": "1;35",
    "broken": "1;31",
    "undecided": "2",
    "failed": "1;31",
}
"""ANSI codes of the words; the word itself says it too."""
NAME = 34
"""Columns that a twin's name takes at most."""


def show_outcome(root: Path, page: Path, extent: Extent) -> int:
    """What was found, model by model, and where the page is; the number of cells that failed."""
    results = AuditResults.read(root)
    failures = results.failures()
    if extent == "json":
        log(json.dumps(as_json(results, page), ensure_ascii=False, indent=1, allow_nan=False))
    elif extent != "quiet":
        for model in results.models:
            _show_model(results, model, extent)
    for reason in dict.fromkeys(f"{cell['model']}: {cell['reason']}" for cell in failures):
        log(f"Failed: {reason}", err=True)
    if extent != "json":
        log(f"Report: {page}")
    return len(failures)


def _show_model(results: AuditResults, model: str, extent: Extent) -> None:
    log(f"\n{model}")
    for check in doubtful(results, model):
        if check.passed is False or extent == "verbose":
            say(f"{SIGNS[check.passed]} {check.name}: {check.detail}")
    found = heroes(results, model)
    _print_table(found)
    for hero in found:
        advice = f" {hero.status.advice}" if hero.status else ""
        log("")
        say(f"{hero.twin.compression}: {hero.sentence}{advice}")
    shown, others = first(findings(results, model))
    log("")
    for sentence in stops(results, model):
        say(sentence)
    for one in (*shown, *others) if extent == "verbose" else shown:
        say(f"- {one.title}." + (f" {one.text}" if extent == "verbose" else ""))
    if extent == "verbose":
        log("")
        show(summary_table(results, model))
        for _, told in verdicts(results, model):
            say(f"- {told}")


def _print_table(found: Sequence[Hero]) -> None:
    """As many columns as fit side by side: numbers lose their intervals first, then go."""
    room, titles = width(), _titles(found)
    kept = any(hero.kept for hero in found)
    for interval, most in ((True, 3), (False, 3), (False, 2), (False, 1), (False, 0)):
        numbers = min(most, len(titles))
        rows = [_row(hero, kept=kept, interval=interval, numbers=numbers) for hero in found]
        head = ["", "twin", "bits", "size", *(["bytes a token"] * kept), *titles[:numbers]]
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        if sum(widths) + 2 * (len(widths) - 1) <= room or not numbers:
            break
    for row in [head, *rows]:
        cells = [
            cell.ljust(w) if i < 2 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        _print_row(cells, row[0])


def _print_row(cells: list[str], word: str) -> None:
    code = COLOURS.get(word)
    out = sys.stdout
    if code and isinstance(out, Terminal) and coloured():
        out.write_coloured(cells[0], code)
        log("  " + "  ".join(cells[1:]).rstrip())
    else:
        log("  ".join(cells).rstrip())


def coloured() -> bool:
    """Is there a terminal that shows colours, and nobody who asked for none (no-color.org)?"""
    known = os.environ.get("TERM", "") not in ("", "dumb")
    return sys.stdout.isatty() and known and "NO_COLOR" not in os.environ


def _titles(found: Sequence[Hero]) -> list[str]:
    """What the numbers are, each in a word or two."""
    short = {"same top token": "same top", "induction score kept": "induction"}
    numbers = next((hero.numbers for hero in found if hero.numbers), ())
    return [short.get(number.title, number.title.partition(" ")[0]) for number in numbers]


def _row(hero: Hero, *, interval: bool, numbers: int, kept: bool = False) -> list[str]:
    texts = [number.text if interval else number.text.partition(" [")[0] for number in hero.numbers]
    name = hero.twin.compression
    if len(name) > NAME:
        name = f"{name[: NAME // 2 - 2]}...{name[-(NAME // 2 - 1) :]}"
    texts += [""] * (numbers - len(texts))
    word = hero.status.word if hero.status else "failed"
    token = f"{hero.twin.token_bytes:,.0f}" if hero.twin.token_bytes else ""
    return [word, name, hero.bits, hero.size, *([token] * kept), *texts[:numbers]]


def as_json(results: AuditResults, page: Path) -> dict[str, Any]:
    """Models, their twins with word, sentence and numbers, findings and checks that did not pass;
    numbers as in the store."""
    return {
        "results": str(results.store.root),
        "report": str(page),
        "models": [
            {
                "name": model,
                "twins": [_twin(hero) for hero in heroes(results, model)],
                "findings": [
                    {"title": one.title, "text": one.text, "twins": list(one.twins)}
                    for one in findings(results, model)
                ],
                "checks": [
                    {"name": check.name, "passed": check.passed, "detail": check.detail}
                    for check in doubtful(results, model)
                ],
            }
            for model in results.models
        ],
        "failed": len(results.failures()),
    }


def _twin(hero: Hero) -> dict[str, Any]:
    about = hero.status
    return {
        "compression": hero.twin.compression,
        "word": about.word if about else "failed",
        "sentence": hero.sentence,
        "advice": about.advice if about else "",
        "because": list(about.because) if about else [],
        "maybe": list(about.maybe) if about else [],
        "bits": hero.twin.bits,
        "bytes": hero.twin.bytes,
        "token_bytes": hero.twin.token_bytes,
        "numbers": [
            {
                "metric": f"{number.row['analysis']}.{number.row['metric']}",
                **{key: number.row[key] for key in ("site", "item", "value", "low", "high")},
                "word": number.word,
            }
            for number in hero.numbers
        ],
    }
