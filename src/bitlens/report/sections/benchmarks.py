"""The section on benchmarks: which answers flip, at which depth, and whether that is a loss."""

from bitlens.report.audit_results import AuditResults
from bitlens.report.benchmarks.damage import damage_parts
from bitlens.report.benchmarks.parts import parts_of
from bitlens.report.benchmarks.shown import benchmarks_of
from bitlens.report.page.parts import Part
from bitlens.report.registration import Marks, section


@section("benchmarks", "Benchmarks", after="quality", analysis="benchmarks", uses=())
def benchmarks(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """What one model's twins lost of it; nothing where none was asked."""
    found = benchmarks_of(results)
    if found is None or not (parts := parts_of(found, model, marks, results.prefix(model))):
        return ()
    return (*parts, *damage_parts(results, found, model))
