"""The section on what was really quantized, measured from the weights, not taken from settings."""

import statistics
from collections import Counter

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.page.parts import Column, Details, Ledger, Part, Prose, Statement, Table
from bitlens.report.registration import Marks, section
from bitlens.report.text.numbers import figure, plain, size
from bitlens.results.counts import count

SUMMARY = {
    "compression": False,
    "modules": True,
    "parameters": True,
    "bits": True,
    "bytes": True,
    "median error": True,
    "largest error": True,
    "of module": False,
    "left alone": False,
}
"""Titles, and whether they stand over numbers."""
FIELDS = {
    "compression": False,
    "module": False,
    "kind": False,
    "format": False,
    "bits": True,
    "group": True,
    "parameters": True,
    "bytes": True,
    "changed": True,
    "relative_error": True,
    "sqnr_db": True,
    "reason": False,
    "note": False,
}


@section("compressed", "What was quantized", uses=())
def compressed(results: AuditResults, model: str, _: Marks) -> tuple[Part, ...]:
    """One row a twin: what changed and by how much; every module in a fold."""
    rows = [row for row in results.coverage if row["model"] == model]
    if not rows:
        return (Prose("There is no table of modules in this store."),)
    by_twin: dict[str, list[Row]] = {}
    for row in rows:
        by_twin.setdefault(row["compression"], []).append(row)
    table = Table(
        tuple(Column(title, numeric) for title, numeric in SUMMARY.items()),
        tuple(_summary(name, modules) for name, modules in by_twin.items()),
        "modules: how many were to be compressed, of all. parameters: share of the whole model's "
        "that changed. bits per weight and bytes: of the compressed modules, scales and zeros "
        "included. errors: size of a module's change over the size of its weights (Frobenius "
        "norms).",
    )
    return (
        *_found(results, model, by_twin),
        Prose(
            "Tools that quantize can skip modules without saying so. These figures come from "
            "comparing the weights themselves, before and after."
        ),
        table,
        Details(f"All {count(len(rows), 'module')}", (_ledger(rows),)),
    )


def _found(
    results: AuditResults, model: str, by_twin: dict[str, list[Row]]
) -> tuple[Statement, ...]:
    """By each compression's median error of a module."""
    errors = {}
    for twin in results.measured(model):
        rows = by_twin.get(twin.compression, [])
        found = [r["relative_error"] for r in rows if r["compressed"] and r["relative_error"]]
        if found:
            errors[twin.compression] = statistics.median(found)
    if not errors:
        return ()
    order = sorted(errors, key=lambda twin: errors[twin])
    told = "; ".join(f"{twin} {figure(errors[twin], 'share')}" for twin in order)
    return (
        Statement(
            f"{order[-1]} moved its weights most",
            f"Size of the change of the median matrix, of its weights: {told}.",
        ),
    )


def _summary(name: str, modules: list[Row]) -> tuple[str, ...]:
    chosen = [row for row in modules if row["compressed"]]
    same = sum(not row["changed"] for row in chosen)
    rounded = sum("inputs rounded" in row["note"] for row in chosen)
    total = sum(row["parameters"] for row in modules)
    changed = sum(row["changed"] * row["parameters"] for row in modules)
    weights = sum(row["parameters"] for row in chosen)
    bits = sum(row["bits"] * row["parameters"] for row in chosen)
    errors = [row for row in chosen if row["relative_error"] is not None]
    worst = max(errors, key=lambda row: row["relative_error"], default=None)
    # What is tied to another module has no parameters of its own, and is counted there.
    alone = Counter(row["kind"] for row in modules if not row["compressed"] and row["parameters"])
    return (
        name,
        f"{len(chosen)} of {len(modules)}"
        + (f", {same} unchanged" if same else "")
        + (f", inputs of {rounded} rounded" if rounded else ""),
        f"{100 * changed / total:.1f} %" if total else "–",
        plain(bits / weights, 2) if weights else "–",
        size(sum(row["bytes"] for row in chosen)) if chosen else "–",
        figure(statistics.median(row["relative_error"] for row in errors), "share")
        if errors
        else "–",
        figure(worst["relative_error"], "share") if worst else "–",
        worst["module"] if worst else "–",
        ", ".join(count(n, kind) for kind, n in sorted(alone.items())) or "nothing",
    )


def _ledger(rows: list[Row]) -> Ledger:
    titles = {
        "changed": "share changed",
        "relative_error": "relative error",
        "sqnr_db": "SQNR (dB)",
        "reason": "why no error",
    }
    return Ledger(
        "modules",
        tuple(Column(titles.get(field, field), numeric) for field, numeric in FIELDS.items()),
        tuple(tuple(row[field] for field in FIELDS) for row in rows),
        "group: input columns that share a scale; 0 where a row or more does, or nothing. "
        "share changed: of a module's weights. relative error: size of the change over the size "
        "of the weights (Frobenius norms). SQNR: the same in decibels.",
    )
