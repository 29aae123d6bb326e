"""Benchmarks as a page shows them: with nothing in their texts that nobody can see."""

from dataclasses import replace
from pathlib import Path

from bitlens.errors import visible
from bitlens.report.audit_results import AuditResults, once
from bitlens.results.benchmarks.folder import FOLDER, Benchmarked, finished, read_benchmarks


def visible_benchmarks(found: Benchmarked) -> Benchmarked:
    """The same, every text made visible."""
    return replace(
        found,
        about=visible(found.about),
        tasks=[replace(one, **visible(vars(one))) for one in found.tasks],
        outcomes=[replace(one, **visible(vars(one))) for one in found.outcomes],
        generations=[replace(one, **visible(vars(one))) for one in found.generations],
        depths=[replace(one, **visible(vars(one))) for one in found.depths],
        changes=[replace(one, **visible(vars(one))) for one in found.changes],
    )


def benchmarks_of(results: AuditResults) -> Benchmarked | None:
    """Those that were run beside an audit; None where none were."""
    return once(results, "benchmarks", lambda: _read(results.store.root / FOLDER))


def _read(folder: Path) -> Benchmarked | None:
    return visible_benchmarks(read_benchmarks(folder)) if finished(folder) else None
