"""Sentences on benchmarks: what a twin surely loses or gains, and what the questions leave open."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.benchmarks.sentences import told
from bitlens.report.benchmarks.shown import benchmarks_of
from bitlens.report.registration import sentence
from bitlens.report.text.doubts import Claim, claim


@sentence(order=60)
def answers(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """One of every benchmark."""
    found = benchmarks_of(results)
    if found is None or model not in found.models:
        return
    for benchmark in found.benchmarks(model):
        change = found.change(model, name, benchmark)
        if change is not None:
            yield claim(told(change), twins=(name,))
