"""Benchmarks as estimates of a store: rows that can be exported, gated and compared as all
others."""

from collections.abc import Iterator, Mapping
from typing import Any

from bitlens.results.benchmarks.folder import Benchmarked
from bitlens.results.benchmarks.records import Change
from bitlens.results.records import Metric

ANALYSIS = "benchmarks"
"""In the place of an analysis."""
SITE = "logits"
_SOURCE = "lm-evaluation-harness, paired by bitlens"
METRICS = (
    Metric(
        "score",
        "What share of the questions is answered rightly?",
        unit="share",
        worse="lower",
        intact=None,
        level=True,
        source=_SOURCE,
    ),
    Metric(
        "score_change",
        "How much does the score change on the same questions?",
        unit="share",
        worse="lower",
        intact=0.0,
        source=_SOURCE,
    ),
    Metric(
        "flips",
        "On what share of the questions is only one of the two models right?",
        unit="share",
        worse="higher",
        intact=0.0,
        source="Dutta et al. 2024, arXiv 2407.09141",
    ),
    Metric(
        "recovery",
        "What is left of the reference's score above chance?",
        unit="share",
        worse="lower",
        intact=1.0,
        source=_SOURCE,
    ),
)


def named_metrics() -> dict[str, Metric]:
    """By full name."""
    return {f"{ANALYSIS}.{metric.name}": metric for metric in METRICS}


def estimate_rows(
    found: Benchmarked, bits: Mapping[tuple[str, str], float | None], seed: int
) -> Iterator[dict[str, Any]]:
    """A row a number of every twin and whole benchmark, by its first metric; `bits`: by model and
    compression."""
    for model in found.models:
        for benchmark in found.benchmarks(model):
            for twin in found.twins(model):
                change = found.change(model, twin, benchmark)
                if change is not None:
                    for metric, numbers in _numbers(change):
                        yield {
                            "model": model,
                            "compression": twin,
                            "bits": bits.get((model, twin)),
                            "analysis": ANALYSIS,
                            "metric": metric.name,
                            "site": SITE,
                            "documents": change.questions,
                            "intact": metric.intact,
                            "worse": metric.worse,
                            "seed": seed,
                            **numbers,
                        }


def _numbers(change: Change) -> Iterator[tuple[Metric, dict[str, Any]]]:
    """By metric: item, value, bounds, chance and the reason for what is missing."""
    level, moved, flips, left = METRICS
    reason = None if change.low is not None else change.reason
    none = {"low": None, "high": None, "chance": None}
    whole = "no interval of its own: its change has one"
    for item, score in (("reference", change.reference), ("twin", change.score)):
        named = f"{change.benchmark}, {item}"
        yield (
            level,
            {**none, "item": named, "value": score, "chance": change.chance, "reason": whole},
        )
    bounds = {"low": change.low, "high": change.high, "chance": None, "reason": reason}
    yield moved, {"item": change.benchmark, "value": change.difference, **bounds}
    share = (change.lost + change.gained) / change.questions
    yield flips, {**none, "item": change.benchmark, "value": share, "reason": whole}
    yield (
        left,
        {
            "item": change.benchmark,
            "value": change.recovery,
            "low": change.recovery_low,
            "high": change.recovery_high,
            "chance": None if change.recovery is None else 0.0,
            "reason": None if change.recovery is not None else change.reason or "chance not known",
        },
    )
