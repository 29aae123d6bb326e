"""Where is every number? All estimates with interval, intact, chance and control."""

from bitlens.report.evidence import Evidence, Row
from bitlens.report.parts import Column, Details, Ledger, Part, Prose, Value

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


def numbers(evidence: Evidence) -> tuple[Part, ...]:
    """The whole table of estimates, in a fold."""
    if not evidence.estimates:
        return (Prose("There are no estimates in this store."),)
    columns = (
        *(Column(title) for title in TEXT),
        *(Column(title, True) for title in NUMBERS),
        Column("reason"),
    )
    ledger = Ledger(
        "estimates",
        columns,
        tuple(_row(evidence, row) for row in evidence.estimates),
        "low and high: 95 % interval. noise: the same number for weight noise of the same size; "
        "difference: value minus noise, with its p-value (sign flips over shards) and its "
        "q-value where many were tested at once. reason: why there is no value or no interval. "
        "`bitlens export` writes the same as CSV, JSON or Parquet.",
    )
    return (Details(f"All {len(evidence.estimates):,} estimates", (ledger,)),)


def _row(evidence: Evidence, row: Row) -> tuple[Value, ...]:
    noise = evidence.noise(row["model"], row["compression"])
    beside = [
        other["value"]
        for other in evidence.seeds(
            row["model"],
            noise or "",
            f"{row['analysis']}.{row['metric']}",
            row["site"],
            row["item"],
        )
        if other["seed"] == row["seed"]
    ]
    contrast = evidence.contrast(row, noise) or {}
    found = {**row, **{k: contrast.get(k) for k in ("difference", "p", "q")}}
    found["noise"] = beside[0] if beside else None
    return (*(row[k] for k in TEXT), *(found[k] for k in NUMBERS), row["reason"] or "")
