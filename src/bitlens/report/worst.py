"""Where a twin is hit hardest, as the first screen names it: the measure, the block, the head."""

from collections.abc import Iterator
from dataclasses import dataclass

from bitlens.report.addresses import address
from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.registration import MeasureFamily
from bitlens.report.scores import FamilyScore, scores
from bitlens.report.text.numbers import plain
from bitlens.report.text.places import worst_part


@dataclass(frozen=True, kw_only=True)
class Worst:
    """A place of a twin, and how much is wrong or left there."""

    title: str
    text: str
    target: str
    """The address of what it names."""


def worst(results: AuditResults, model: str, name: str) -> tuple[Worst, ...]:
    """The measure that has least left, the worst block and the worst head, where measured."""
    return tuple(
        filter(
            None,
            (
                _measure(results, model, name),
                _block(results, model, name),
                _head(results, model, name),
            ),
        )
    )


def least(results: AuditResults, model: str, name: str) -> tuple[MeasureFamily, FamilyScore] | None:
    """The family of measures that a twin has least left of; None where none has a number."""
    found = [(entry, one) for entry, one in scores(results, model, name) if one is not None]
    return min(found, key=lambda pair: pair[1].value, default=None)


def of_family(entry: MeasureFamily, found: FamilyScore) -> str:
    """`features in block 2 (late)`."""
    return f"{entry.title.lower()} {found.of.where}".rstrip()


def left(found: FamilyScore) -> str:
    """`73.4 %`, as the overview has it."""
    return f"{plain(100 * found.value, 1)} %"


def _measure(results: AuditResults, model: str, name: str) -> Worst | None:
    found = least(results, model, name)
    if found is None:
        return None
    entry, one = found
    return Worst(
        title="Hit hardest",
        text=f"{of_family(entry, one)}: {left(one)} left",
        target=f"{results.prefix(model)}{entry.section}",
    )


def _block(results: AuditResults, model: str, name: str) -> Worst | None:
    found = worst_part(results, model, name)
    if found is None:
        return None
    row, who = found
    block = int(row["site"].rpartition(".")[2])
    return Worst(
        title="Worst block",
        text=f"{who}: {_wrong(row)} of what it adds is wrong",
        target=address(results, model, layer=block),
    )


def _head(results: AuditResults, model: str, name: str) -> Worst | None:
    rows = list(_heads(results, model, name))
    if not rows:
        return None
    block, head, row = max(rows, key=lambda one: one[2]["value"])
    return Worst(
        title="Worst head",
        text=f"head {block}.{head}: {_wrong(row)} of what it writes is wrong",
        target=address(results, model, layer=block, head=head),
    )


def _heads(results: AuditResults, model: str, name: str) -> Iterator[tuple[int, int, Row]]:
    """Each head's own error, given the reference's input."""
    for row in results.everywhere(model, name, "geometry.head_error"):
        head, _, of = row["item"].removeprefix("head ").partition(", ")
        if of == "local":
            yield int(row["site"].rpartition(".")[2]), int(head), row


def _wrong(row: Row) -> str:
    return f"{plain(100 * row['value'], 0 if row['value'] >= 0.1 else 1)} %"
