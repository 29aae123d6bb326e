"""The section on method: how the page was made, what numbers mean, and what was not measured."""

import json
import re
from typing import Any

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import words
from bitlens.report.page.parts import (
    Column,
    Command,
    Details,
    Facts,
    Part,
    Prose,
    Section,
    Statement,
    Table,
)
from bitlens.report.text.early_stop import WIDENED, looked
from bitlens.report.text.numbers import size
from bitlens.results.counts import agreeing, count

NAMED = 6
"""So many metrics are named beside a reason."""


def method(results: AuditResults) -> tuple[Part, ...]:
    """Reading guide, texts, metric definitions, settings, versions, command, and limits."""
    return (
        Statement("Reference and twins read the same tokens, and documents are the sample"),
        Prose(
            "All go block by block through depth, in one pass. Documents, not tokens, are the unit "
            f"of sampling: {_intervals(results)}"
        ),
        Section("texts", "Models and texts", (*_models(results), *_texts(results))),
        Section("metrics", "What each number means", (_metrics(results),)),
        Section("limits", "What was not measured", tuple(map(Prose, _limits(results)))),
        Section(
            "reproduce",
            "Make this page again",
            (
                Command(results.manifest["command"]),
                Details("Settings", (_facts(results.manifest["settings"]),)),
                Details("Versions and machine", (_facts(_surroundings(results)),)),
            ),
        ),
    )


def _intervals(results: AuditResults) -> str:
    if results.manifest["settings"]["interval"] == "bootstrap":
        return "95 % intervals come from drawing whole documents again (bootstrap)."
    widened = f" {WIDENED}" if results.manifest["settings"].get("until") else ""
    return (
        "95 % intervals come from leaving out one shard of whole documents at a time (jackknife, "
        "Student's t) on each metric's own scale; p-values from flipping the signs of the shards' "
        "differences between a twin and its control; q-values from Benjamini and Hochberg."
        f"{widened}"
    )


def _models(results: AuditResults) -> list[Part]:
    titles = (
        "name",
        "family",
        "blocks",
        "width",
        "heads",
        "vocabulary",
        "parameters",
        "bytes",
        "dtype",
        "compute",
        "device",
        "attention",
        "revision",
    )
    numeric = {"blocks", "width", "heads", "vocabulary", "parameters", "bytes"}
    rows = tuple(tuple(_text(model[t]) for t in titles) for model in results.manifest["models"])
    caption = (
        "dtype: what the weights are stored in; compute: what is computed in, block by block, by "
        "the reference and by every twin that has no dtype of its own. Logits are float32."
    )
    return [
        Table(tuple(Column(t, t in numeric) for t in titles), rows, caption),
        *map(Prose, _other_arithmetic(results)),
    ]


def _other_arithmetic(results: AuditResults) -> list[str]:
    """Which twins compute otherwise than their reference, and what tells how much that does."""
    told = []
    for model in results.models:
        compute = results.about(model)["compute"]
        twins = [*results.measured(model), *results.controls(model)]
        other = [f"{t.compression} in {t.dtype}" for t in twins if t.dtype != compute]
        if compute and other:
            told.append(
                f"{model} computes in {compute}; {', '.join(other)}. What arithmetic adds to these "
                "is not the compression's: a cast rounds weights and arithmetic alike, and of "
                "other twins the compute floor says how much their dtype does by itself."
            )
    return told


def _texts(results: AuditResults) -> list[Part]:
    parts: list[Part] = []
    for corpus in results.manifest["corpora"]:
        bos = "added" if corpus["bos"] else "not added"
        told = (
            f"{corpus['name']}, read by {corpus['model']} (seed {corpus['seed']})",
            f"{count(corpus['documents'], 'document')}, {count(corpus['tokens'], 'token')} in "
            f"{count(corpus['windows'], 'window')} of at most {corpus['context']}; BOS {bos}",
            f"{count(corpus['positions'], 'position')} counted (rule: {corpus['positions_rule']})",
            f"token hash {corpus['token_hash']}",
        )
        parts.append(Prose("; ".join(told) + "."))
        if corpus.get("until"):
            parts.append(Prose(f"{looked(corpus['until'])}."))
        parts += [Prose(note) for note in corpus["notes"]]
    return parts


def _metrics(results: AuditResults) -> Table:
    columns = ("metric", "question", "unit", "worse", "intact", "source")
    rows = tuple(
        (
            name,
            metric.question,
            metric.unit or "–",
            metric.worse or "neither",
            "a level" if metric.level else "–" if metric.intact is None else f"{metric.intact:g}",
            metric.source or "–",
        )
        for name, metric in results.metrics.items()
    )
    return Table(
        tuple(Column(title) for title in columns),
        rows,
        "intact: the value when nothing changed; a level describes one model and has none.",
    )


def _limits(results: AuditResults) -> list[str]:
    """What a reader might think was measured and was not, from the store itself."""
    asked = {f"{row['analysis']}.{row['metric']}" for row in results.estimates}
    silent = [words(name) for name in results.metrics if name not in asked]
    limits = [f"Metrics without a single estimate here: {', '.join(silent)}."] if silent else []
    limits += _reasons(results)
    analyses = ", ".join(sorted({row["analysis"] for row in results.estimates})) or "none"
    limits.append(
        f"Only these analyses were run: {analyses}. Nothing here speaks of generated text, of "
        "benchmarks, of other texts than those named above, or of speed."
    )
    return limits


def _reasons(results: AuditResults) -> list[str]:
    """Why estimates have no value or no interval, alike reasons together."""
    alike: dict[tuple[bool, str], list[Row]] = {}
    for row in results.estimates:
        if row["reason"]:
            key = (row["value"] is None, re.sub(r"\d+(\.\d+)?", "#", row["reason"]))
            alike.setdefault(key, []).append(row)
    told = []
    for (no_value, _), rows in sorted(alike.items(), key=lambda item: -len(item[1])):
        names = list(dict.fromkeys(f"{row['analysis']}.{row['metric']}" for row in rows))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        reasons = len({row["reason"] for row in rows})
        others = f" ({reasons - 1} more like it, with other numbers)" if reasons > 1 else ""
        lacking = "a value" if no_value else "an interval"
        reason = rows[0]["reason"].removeprefix("no interval: ")
        told.append(
            f"{count(len(rows), 'estimate')} without {lacking}: {reason}{others}. "
            f"{agreeing(len(rows), 'It is', 'They are')} of {', '.join(names[:NAMED])}{more}."
        )
    return told


def _surroundings(results: AuditResults) -> dict[str, Any]:
    run = results.run
    return {
        **results.manifest["versions"],
        "bitlens": results.manifest["tool"]["version"],
        "date": run["date"],
        "took": f"{run['seconds']:.0f} seconds",
        "peak memory": size(run["peak_bytes"]),
        "machine": run["machine"],
    }


def _facts(fields: dict[str, Any]) -> Facts:
    return Facts(tuple((name, _text(value)) for name, value in sorted(fields.items())))


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
