"""The compute floor: what another dtype does by itself, and which differences drown in it."""

from dataclasses import dataclass

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.text.numbers import amount
from bitlens.results.counts import count

OUTPUTS = {
    "behaviour.perplexity_ratio": "perplexity",
    "behaviour.kl": "mean KL",
    "behaviour.same_top": "same top token",
}
"""Measures of the outputs that a verdict speaks of."""


@dataclass(frozen=True)
class Floor:
    """The reference beside itself in another dtype."""

    twin: str
    """What was measured: `cast:dtype=float32`."""
    words: str
    """`computing in bfloat16 instead of float32`."""
    rounds: bool
    """Whether that rounds the weights too, which are stored in more."""
    roundings: int
    """2 where twin and reference both compute in less than float32, each with errors of its own,
    which add up; else 1."""

    def row(self, results: AuditResults, model: str, metric: str) -> Row | None:
        """The estimate of one measure of the outputs."""
        return results.find(model, self.twin, metric)


def floor(results: AuditResults, model: str, name: str) -> Floor | None:
    """What stands below a twin's numbers; None where twin and reference compute in float32, and
    for casts to what is deployed, whose arithmetic is what they are run for."""
    facts = results.about(model)
    compute = facts["compute"]
    record = results.record(model, name)
    if record is None:
        return None
    own = record.dtype if not name.startswith("cast:") else compute
    other, words, roundings = own, f"computing in {own} instead of {compute}", 1
    if own == compute:
        other, words, roundings = "float32", f"computing in {compute} instead of float32", 2
    twin = f"cast:dtype={other}"
    if compute == own == "float32" or twin == name or results.record(model, twin) is None:
        return None
    rounds = any(dtype not in ("float32", facts["dtype"]) for dtype in (own, compute))
    return Floor(twin, words, rounds, roundings)


def most(results: AuditResults, model: str, name: str, metric: str) -> float | None:
    """How far the dtype by itself may put a measure; None where there is no floor. KL is of the
    second order in errors, the other measures are of less."""
    found = floor(results, model, name)
    row = found and found.row(results, model, metric)
    if found is None or not row:
        return None
    ends = [end for end in (row["low"], row["value"], row["high"]) if end is not None]
    return float(found.roundings * max(abs(end - row["intact"]) for end in ends))


def within(results: AuditResults, model: str, name: str, metric: str) -> bool:
    """Whether a measure is no farther from intact than the dtype by itself may put it."""
    row, limit = results.find(model, name, metric), most(results, model, name, metric)
    return bool(row and limit is not None and abs(row["value"] - row["intact"]) <= limit)


def drowned(results: AuditResults, model: str, name: str, contrast: Row | None) -> bool:
    """Whether a difference from a control is no more than the dtype by itself may make."""
    if contrast is None or contrast["difference"] is None:
        return False
    limit = most(results, model, name, f"{contrast['analysis']}.{contrast['metric']}")
    return limit is not None and bool(abs(contrast["difference"]) <= limit)


def arithmetic(results: AuditResults, model: str, name: str) -> str:
    """What the dtype alone does to the outputs, and which measures of a twin are no more than
    that; empty where there is no floor."""
    found = floor(results, model, name)
    if found is None:
        return ""
    rows = {m: r for m in OUTPUTS if (r := found.row(results, model, m)) is not None}
    if not rows:
        return ""
    units = {metric: results.metrics[metric].unit for metric in rows}
    told = [
        f"perplexity ×{amount(row)}"
        if metric == "behaviour.perplexity_ratio"
        else f"{OUTPUTS[metric]} {amount(row, units[metric])}"
        for metric, row in rows.items()
    ]
    documents = count(max(row["documents"] for row in rows.values()), "document")
    twice = "; both models round so, and up to twice as much is the dtype's doing"
    floor_of = f"the compute floor{twice if found.roundings == 2 else ''}"
    what = f"{found.words}, which rounds the weights too," if found.rounds else found.words
    said = f"{what} by itself gives {', '.join(told)} on {documents} ({floor_of})"
    unknown = [OUTPUTS[metric] for metric in rows if within(results, model, name, metric)]
    if unknown:
        said += f"; of {' and '.join(unknown)} nothing more is known of this compression"
    return said
