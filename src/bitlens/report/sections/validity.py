"""Is this measurement valid? What the run checked about itself, and what it could not do."""

from dataclasses import replace

from bitlens.records import Check
from bitlens.report.evidence import Evidence
from bitlens.report.parts import Checklist, Column, Details, Part, Prose, Table
from bitlens.report.wording import count


def validity(evidence: Evidence) -> tuple[Part, ...]:
    """The checks of the run, the gaps in the numbers, and the failed cells with their reasons."""
    checks = (*map(_advised, evidence.checks), *_gaps(evidence), _complete(evidence))
    held = tuple(check for check in checks if check.passed)
    doubts = tuple(check for check in checks if not check.passed)
    parts: list[Part] = [
        Prose(
            f"{len(held)} of {count(len(checks), 'check')} passed. A cross throws doubt on every "
            "number that rests on it; a question mark means the run could not tell."
        )
    ]
    if doubts:
        parts.append(Checklist(tuple(sorted(doubts, key=lambda check: check.passed is None))))
    if held:
        parts.append(Details("What passed", (Checklist(held),)))
    if failures := evidence.failures():
        titles = ("model", "compression", "analysis", "seed", "reason")
        rows = tuple(tuple(str(cell[title]) for title in titles) for cell in failures)
        parts.append(
            Table(tuple(Column(title) for title in titles), rows, "Cells without a result.")
        )
    return tuple(parts)


def _advised(check: Check) -> Check:
    """A check that failed for want of text says what would mend it."""
    if check.passed or not check.name.endswith("enough documents"):
        return check
    advice = "To know more, read more documents: a larger --tokens, or another --text."
    return replace(check, detail=f"{check.detail.rstrip('.')}. {advice}")


def _gaps(evidence: Evidence) -> list[Check]:
    """Numbers without a value, and controls that were not run: both limit what can be said."""
    missing = sum(row["value"] is None for row in evidence.estimates)
    told = (
        f"{count(missing, 'estimate')} of {len(evidence.estimates):,} could not be computed; "
        "the reasons stand beside them among all numbers."
    )
    checks = [Check("every number has a value", False, told)] if missing else []
    for model in evidence.models:
        bare = [
            twin.compression
            for twin in evidence.measured(model)
            if evidence.noise(model, twin.compression) is None
        ]
        if bare:
            detail = f"{model}: no weight noise of the same size was run for {', '.join(bare)}."
            checks.append(Check("every compression has its noise control", None, detail))
        if evidence.measured(model) and evidence.cast(model) is None:
            detail = f"{model}: no cast was run, so what 16 bits do is not known."
            checks.append(Check("what 16 bits do is known", None, detail))
    return checks


def _complete(evidence: Evidence) -> Check:
    cells, failed = len(evidence.manifest["cells"]), len(evidence.failures())
    detail = f"{cells - failed} of {count(cells, 'cell')} have a result."
    return Check("the study is complete", not failed, detail)
