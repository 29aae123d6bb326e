"""Sentences on the outputs: how far they moved, what their dtype does, and seeds that differ."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.registration import sentence
from bitlens.report.text.compute_floor import OUTPUTS, arithmetic, within
from bitlens.report.text.doubts import OVERFLOW, Claim, claim, overflow_site
from bitlens.report.text.numbers import amount, figure
from bitlens.results.counts import count
from bitlens.results.records import TEXT


@sentence(order=10)
def overflow(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """Where a twin stops having numbers, and that the reference does not."""
    place, twin = overflow_site(results, model, name), results.record(model, name)
    if place is None or twin is None:
        return
    row = results.find(model, name, "behaviour.perplexity", item="reference")
    own = f"; the reference's own perplexity is {amount(row)}" if row else ""
    yield claim(
        f"overflows at {place}, computed in {twin.dtype}: from there on it has no numbers{own}",
        OVERFLOW,
    )


@sentence(order=40)
def outputs(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """How far perplexity, KL and the top token moved, where it is more than the dtype's doing."""
    yield claim(", ".join(_outputs(results, model, name)), TEXT)


@sentence(order=50)
def compute_floor(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """What computing in another dtype does to the outputs by itself."""
    yield claim(arithmetic(results, model, name), TEXT)


@sentence(order=140)
def seeds(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """How far the seeds' mean KL are apart, where there are several."""
    rows = results.seeds(model, name, "behaviour.kl")
    values = [row["value"] for row in rows if row["value"] is not None]
    if len(values) >= 2:
        yield claim(
            f"over {count(len(values), 'seed')} mean KL runs from "
            f"{figure(min(values))} to {figure(max(values))} nats",
            TEXT,
        )


def _outputs(results: AuditResults, model: str, name: str) -> Iterator[str]:
    for metric, said in OUTPUTS.items():
        row = results.find(model, name, metric)
        if row and not within(results, model, name, metric):
            unit = results.metrics[metric].unit
            ratio = metric == "behaviour.perplexity_ratio"
            yield f"{said} ×{amount(row)}" if ratio else f"{said} {amount(row, unit)}"
