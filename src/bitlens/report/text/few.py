"""The one place that decides whether documents are enough for an interval to mean anything."""

from typing import Any

from bitlens.results.records import FEWEST, TOO_FEW

Row = dict[str, Any]
SURENESS = ("low", "high", "p", "q")
"""What rests on how documents differ."""


OF_A_FEATURE = ("r_low", "r_high")
"""The interval of a single feature, in the tables of features."""


def sayable_detail(rows: list[Row], documents: int) -> list[Row]:
    """A table of single features as it may be shown: of too few documents without intervals."""
    if documents >= FEWEST:
        return rows
    return [{**row, **{name: None for name in OF_A_FEATURE if name in row}} for row in rows]


def sayable(row: Row) -> Row:
    """An estimate or a contrast as it may be shown: of too few documents without its interval and
    its test, with the reason in their place. An interval of no length is no guess, and stays."""
    if row["documents"] >= FEWEST or row["low"] is None or row["low"] == row["high"]:
        return row
    return {**row, **{name: None for name in SURENESS if name in row}, "reason": TOO_FEW}
