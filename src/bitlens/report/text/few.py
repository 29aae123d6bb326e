"""The one place that decides whether documents are enough for an interval to mean anything."""

from typing import Any

from bitlens.results.records import FEWEST, TOO_FEW

Row = dict[str, Any]
SURENESS = ("low", "high", "p", "q")
"""What rests on how documents differ."""


def sayable(row: Row) -> Row:
    """An estimate or a contrast as it may be shown: of too few documents without its interval and
    its test, with the reason in their place. An interval of no length is no guess, and stays."""
    if row["documents"] >= FEWEST or row["low"] is None or row["low"] == row["high"]:
        return row
    return {**row, **{name: None for name in SURENESS if name in row}, "reason": TOO_FEW}
