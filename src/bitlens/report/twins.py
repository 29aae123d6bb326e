"""The twins of a model as tables and tabs show them: each beside its noise, one of them first."""

from collections.abc import Sequence

from bitlens.report.audit_results import AuditResults


def with_noise(results: AuditResults, model: str) -> list[tuple[str, str]]:
    """(text for a table, compression): each compression, its noise under it."""
    found: list[tuple[str, str]] = []
    for twin in results.measured(model):
        found.append((twin.compression, twin.compression))
        if noise := results.noise(model, twin.compression):
            found.append(("– noise of its size", noise))
    return found


def farthest(results: AuditResults, model: str, compressions: Sequence[str]) -> int:
    """Which of these has the largest mean KL? The first where it was not measured."""
    rows = [results.find(model, name, "behaviour.kl") for name in compressions]
    values = [row["value"] if row else 0.0 for row in rows]
    return values.index(max(values))
