"""The section on validity: what the run checked about itself, and what it could not do."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.page.parts import Checklist, Column, Details, Part, Prose, Statement, Table
from bitlens.report.text.doubts import checks, titled
from bitlens.results.counts import agreeing, count
from bitlens.results.records import Check

NAMED = 2
"""Checks that could not be decided are named where they are so few."""


def validity(results: AuditResults) -> tuple[Part, ...]:
    """The checks of the run, what was left out, and the failed cells with their reasons."""
    found = [titled(results, check) for check in checks(results)]
    held = tuple(check for check in found if check.passed)
    doubts = tuple(check for check in found if not check.passed)
    parts: list[Part] = [
        Statement(passed(found)),
        Prose(
            "A cross throws doubt on every number that rests on it; a question mark means the run "
            "could not tell."
        ),
    ]
    if doubts:
        parts.append(Checklist(tuple(sorted(doubts, key=lambda check: check.passed is None))))
    parts += map(Prose, _left_out(results))
    if held:
        parts.append(Details("What passed", (Checklist(held),)))
    if failures := results.failures():
        titles = ("model", "compression", "analysis", "seed", "reason")
        rows = tuple(tuple(str(cell[title]) for title in titles) for cell in failures)
        parts.append(
            Table(tuple(Column(title) for title in titles), rows, "Cells without a result.")
        )
    return tuple(parts)


def passed(found: list[Check]) -> str:
    """`15 of 17 checks passed; 1 failed; 1 could not be decided (SAE fits)`."""
    failed = [check.name for check in found if check.passed is False]
    open_ = [check.name for check in found if check.passed is None]
    if not failed and not open_:
        return "Every check passed"
    told = [f"{len(failed)} failed"] if failed else []
    named = f" ({', '.join(open_)})" if len(open_) <= NAMED else ""
    told += [f"{len(open_)} could not be decided{named}"] if open_ else []
    held = len(found) - len(failed) - len(open_)
    return f"{held} of {count(len(found), 'check')} passed; {'; '.join(told)}"


def _left_out(results: AuditResults) -> Iterator[str]:
    """Controls that were not run, and numbers that do not exist: both limit what can be said."""
    for model in results.models:
        bare = [
            twin.compression
            for twin in results.measured(model)
            if results.noise(model, twin.compression) is None
        ]
        if bare:
            yield f"{model}: no weight noise of the same size was run for {', '.join(bare)}."
        if results.measured(model) and results.cast(model) is None:
            yield f"{model}: no cast was run, so what 16 bits do is not known."
    if missing := sum(row["value"] is None for row in results.estimates):
        yield (
            f"{count(missing, 'number')} of {len(results.estimates):,} "
            f"{agreeing(missing, 'does', 'do')} not exist here (a share of heads where the "
            "reference has none, say); why stands beside each among all numbers, and together "
            "under what was not measured."
        )
