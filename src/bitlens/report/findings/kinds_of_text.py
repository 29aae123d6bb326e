"""The finding on kinds of text: which of them is hit harder than all others."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.kinds import hit_first, numbers_of, told
from bitlens.report.registration import Finding, finding
from bitlens.results.records import TEXT

WEIGHT = 0.85
"""Somebody asked: after what is broken and what to take."""


@finding
def kinds(results: AuditResults, model: str) -> Iterator[Finding]:
    """The kind of text that breaks first, one finding for each that does in some twin; nothing
    where no categories were named or none surely differs."""
    shown = numbers_of(results, model)
    if not shown:
        return
    of = shown[0]
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for twin, row, noise in hit_first(results, model, of):
        text = told(row, noise, results.metrics[of.name])
        by_kind.setdefault(row["category"], []).append((twin, text))
    for kind, found in by_kind.items():
        twins = tuple(twin for twin, _ in found)
        yield Finding(
            title=f"“{kind}” breaks first in {', '.join(twins)}",
            text=f"{of.title}, {twins[0]}: {found[0][1]}",
            anchor="categories",
            weight=WEIGHT,
            twins=twins,
            uses=frozenset({TEXT}),
        )
