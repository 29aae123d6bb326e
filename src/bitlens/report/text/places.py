"""Sentences on where the damage is: the block with the largest error, the head that moved most."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.scatter import heads
from bitlens.report.registration import sentence
from bitlens.report.text.differences import tested
from bitlens.report.text.doubts import Claim, claim
from bitlens.report.text.numbers import amount
from bitlens.results.records import TEXT

PARTS_OF_A_BLOCK = {"attn": "attention", "mlp": "MLP"}


@sentence(order=130)
def places(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """Where the largest local error is, and whose attention moved most, beside noise."""
    told = filter(None, (_worst_block(results, model, name), moved(results, model, name)))
    yield claim("; ".join(told), TEXT, twins=(results.noise(model, name),))


def moved(results: AuditResults, model: str, who: str) -> str:
    """The head whose attention moved most, beside the same head under noise."""
    found = heads(results, model, who, "attention.jsd")
    if not found:
        return ""
    place = max(found, key=lambda place: found[place]["value"])
    noise = results.noise(model, who)
    others = heads(results, model, noise, "attention.jsd") if noise else {}
    beside = f", under noise {amount(others[place], 'nats')}" if place in others else ""
    beside += tested(results.contrast(found[place], noise), "nats")
    return (
        f"the attention of head {place[0]}.{place[1]} moved most, "
        f"JSD {amount(found[place], 'nats')}{beside}"
    )


def worst_part(results: AuditResults, model: str, name: str) -> tuple[Row, str] | None:
    """The largest local error, and whose it is: `block 2's MLP`."""
    found = [
        (row, f"block {block}'s {said}")
        for kind, said in PARTS_OF_A_BLOCK.items()
        for block, row in results.depth(
            model, name, "geometry.relative_error", kind=kind, item="local"
        )
    ]
    return max(found, key=lambda place: place[0]["value"], default=None)


def _worst_block(results: AuditResults, model: str, name: str) -> str:
    found = worst_part(results, model, name)
    if found is None:
        return ""
    error = amount(found[0], results.metrics["geometry.relative_error"].unit)
    return f"the largest local error is that of {found[1]}, {error} of its output"
