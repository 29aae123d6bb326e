"""The finding on kinds of text: which of them is hit harder than all others."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.kinds import hit_harder, numbers_of, told
from bitlens.report.registration import Finding, finding
from bitlens.results.records import TEXT

WEIGHT = 0.85
"""Somebody asked: after what is broken and what to take."""


@finding
def kinds(results: AuditResults, model: str) -> Iterator[Finding]:
    """The kinds of text that are hit harder than all others together, a finding each; nothing
    where no categories were named or none surely differs."""
    shown = numbers_of(results, model)
    if not shown:
        return
    of = shown[0]
    for kind, found in hit_harder(results, model, of).items():
        twins = tuple(twin for twin, *_ in found)
        first, row, noise = found[0]
        yield Finding(
            title=f"“{kind}” is hit harder than all other texts in {', '.join(twins)}",
            text=f"{of.title}, {first}: {told(row, noise, results.metrics[of.name])}",
            anchor="categories",
            weight=WEIGHT,
            twins=twins,
            uses=frozenset({TEXT}),
        )
