"""The table of every number: all estimates with interval, intact, chance and control."""

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.page.columns import Value
from bitlens.report.page.parts import Column, Details, Ledger, Part, Prose, Statement

TEXT = ("model", "compression", "analysis", "metric", "site", "item")
NUMBERS = (
    "value",
    "low",
    "high",
    "intact",
    "chance",
    "noise",
    "difference",
    "p",
    "q",
    "documents",
    "seed",
)

MOST = 40_000
"""With more estimates than this a page would grow beyond ten megabytes."""


def numbers(results: AuditResults) -> tuple[Part, ...]:
    """The whole table of estimates, in a fold."""
    if not results.estimates:
        return (Prose("There are no estimates in this store."),)
    columns = (
        *(Column(title) for title in TEXT),
        *(Column(title, numeric=True) for title in NUMBERS),
        Column("reason"),
    )
    rows = results.estimates
    if len(rows) > MOST:
        rows = [row for row in rows if not row["item"].startswith("head ")]
    left = len(results.estimates) - len(rows)
    told = f"{left:,} estimates of single heads are left out here. " if left else ""
    ledger = Ledger(
        "estimates",
        columns,
        tuple(_row(results, row) for row in rows),
        "low and high: 95 % interval. noise: the same number for weight noise of the same size; "
        "difference: value minus noise, with its p-value (sign flips over shards) and its "
        "q-value where many were tested at once. reason: why there is no value or no interval. "
        f"{told}`bitlens export` writes all of them as CSV, JSON or Parquet.",
    )
    known = sum(row["low"] is not None for row in results.estimates)
    found = Statement(
        f"{known:,} of {len(results.estimates):,} numbers have an interval, the others a reason"
    )
    return (found, Details(f"{'' if left else 'All '}{len(rows):,} estimates", (ledger,)))


def _row(results: AuditResults, row: Row) -> tuple[Value, ...]:
    noise = results.noise(row["model"], row["compression"])
    beside = [
        other["value"]
        for other in results.seeds(
            row["model"],
            noise or "",
            f"{row['analysis']}.{row['metric']}",
            site=row["site"],
            item=row["item"],
        )
        if other["seed"] == row["seed"]
    ]
    contrast = results.contrast(row, noise) or {}
    found = {**row, **{k: contrast.get(k) for k in ("difference", "p", "q")}}
    found["noise"] = beside[0] if beside else None
    return (*(row[k] for k in TEXT), *(found[k] for k in NUMBERS), row["reason"] or "")
