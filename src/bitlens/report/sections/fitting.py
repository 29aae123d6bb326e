"""Tables of texts that somebody sends: whether what a row says fits the tokens it is about."""

from collections.abc import Iterable

from bitlens.errors import ResultsError
from bitlens.report.audit_results import Row


def require_fitting(table: str, fits: Iterable[bool]) -> None:
    """BitlensError for a table of which some row does not fit its own text: one that was changed
    after it was written."""
    for number, one in enumerate(fits):
        if not one:
            raise ResultsError(
                f"Row {number} of a table {table} of the store says more or less than its text has "
                "tokens.",
                "the table as bitlens wrote it.",
                "the command that made the store again, with --replace.",
            )


def context_fits(row: Row) -> bool:
    """A context has an activation of each model a token, and its peak is one of them."""
    lengths = {len(row[name]) for name in ("tokens", "reference", "twin")}
    return len(lengths) == 1 and 0 <= row["peak"] < len(row["tokens"])


def firing_fits(row: Row) -> bool:
    """Firings have a pair a position, and as many bins on either side."""
    sides = ("reference", "twin")
    bins = [len(row[f"bins_{side}"]) for side in sides]
    return len(row["reference"]) == len(row["twin"]) and bins[0] == bins[1] > 0 < row["top"]


def pattern_fits(row: Row, lengths: dict[int, int]) -> bool:
    """A pattern has a share for each token and those before it; `lengths`: tokens of each text."""
    tokens = lengths.get(row["text"], 0)
    return len(row["reference"]) == len(row["twin"]) == tokens * (tokens + 1) // 2 > 0
