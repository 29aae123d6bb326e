"""The first sentences of a page: which twins may be used, what breaks first, and noise beside."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.findings.beside_noise import BesideNoise, beside
from bitlens.report.hero import Hero
from bitlens.report.status import WORST_FIRST
from bitlens.report.text.lesions import listed
from bitlens.report.worst import least, left, of_family
from bitlens.results.counts import agreeing

TOLD = {
    "intact": "{} can stand in for the reference",
    "changed": "{} can where single tokens may differ",
    "damaged": "test {} on your own task first",
    "broken": "do not use {}",
    "undecided": "of {} the intervals are too wide to say",
    "doubted": "of {} nothing is sure, for a check failed",
    "failed": "{} could not be measured",
}
"""What is said first of the twins of a word, in this order."""


def lead(found: list[Hero], doubted: set[str]) -> str:
    """Which twins may be used and which not: `a can stand in for the reference; do not use b`.
    Nothing is recommended of one that a failed check bears on."""
    by: dict[str, list[str]] = {}
    for one in found:
        name = one.twin.compression
        word = one.status.word if one.status else "failed"
        by.setdefault("doubted" if name in doubted else word, []).append(name)
    said = [told for word, told in TOLD.items() if word in by]
    names = [listed(by[word]) for word in TOLD if word in by]
    first = [told[:1].upper() + told[1:] for told in said[:1]]
    return "; ".join(
        told.format(name) for told, name in zip([*first, *said[1:]], names, strict=True)
    )


def first_to_break(results: AuditResults, model: str, found: list[Hero]) -> str:
    """What the mildest of the twins that changed has least left of; empty where none did."""
    changed = [one for one in found if one.status and one.status.word in WORST_FIRST]
    mild = min(changed, key=lambda one: _damage(results, model, one), default=None)
    worst = least(results, model, mild.twin.compression) if mild else None
    if mild is None or worst is None:
        return ""
    entry, one = worst
    what = of_family(entry, one)
    mildest = f"{mild.twin.compression}, the mildest that changes anything"
    return f"What breaks first: {what}, {left(one)} left at {mildest}."


def _damage(results: AuditResults, model: str, one: Hero) -> float:
    row = results.find(model, one.twin.compression, "behaviour.kl")
    return row["value"] if row else float("inf")


def against_noise(results: AuditResults, model: str, found: list[Hero]) -> str:
    """Whether any twin does more damage than noise of its size; empty where none was compared."""
    compared = list(_compared(results, model, found))
    more = [f"{name} ({one.where})" for name, one in compared if one.more]
    if not compared:
        return ""
    if not more:
        return "The damage is like that of random noise of the same size, or less."
    only = "Only " if len(more) < len(compared) else ""
    do = agreeing(len(more), "does", "do")
    return f"{only}{listed(more)} {do} more damage than random noise of the same size."


def _compared(
    results: AuditResults, model: str, found: list[Hero]
) -> Iterator[tuple[str, BesideNoise]]:
    for one in found:
        if one.status and (compared := beside(results, model, one.twin.compression)):
            yield one.twin.compression, compared
