"""Why numbers of a table are missing."""

from bitlens.report.audit_results import AuditResults


def missing(results: AuditResults, model: str, analysis: str, item: str) -> str:
    """Every reason once, as a sentence to follow another; empty where all numbers are there."""
    found = dict.fromkeys(
        row["reason"]
        for row in results.estimates
        if (row["model"], row["analysis"], row["item"]) == (model, analysis, item)
        and row["value"] is None
        and row["reason"]
    )
    return f" Missing: {'; '.join(found)}." if found else ""
