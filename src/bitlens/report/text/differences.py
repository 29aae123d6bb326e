"""The two rules by which the page claims a difference, and nothing else.

That a number is another than its control's, or than the reference's: by the stored contrast
(`way`). Intervals of two estimates that overlap may belong to numbers that surely differ, and the
other way round: both were measured on the same documents.

That a number is on one side of a bound, which is stated with it: where its whole interval is
(`above`, `below`).
"""

from typing import Literal

from bitlens.report.audit_results import Row
from bitlens.report.text.numbers import amount, points, probability

LEVEL = 0.05
"""The highest q of a claim: the share of such claims that may be wrong."""


def way(contrast: Row | None) -> Literal["more", "less", ""]:
    """Is the twin's number surely above the other's, or below? Empty where neither is known.

    By q, of all places tested together. Draws of documents (bootstrap) have none: there the
    interval of the difference decides.
    """
    if contrast is None or not contrast["difference"]:
        return ""
    sure = contrast["p"] if contrast["q"] is None else contrast["q"]
    if sure is None:
        low, high = contrast["low"], contrast["high"]
        if low is None or high is None or low <= 0 <= high:
            return ""
    elif sure > LEVEL:
        return ""
    return "more" if contrast["difference"] > 0 else "less"


def above(row: Row | None, bound: float) -> bool:
    """Is a number above a bound with its whole interval?"""
    return row is not None and row["low"] is not None and bool(row["low"] > bound)


def below(row: Row | None, bound: float) -> bool:
    """Is a number below a bound with its whole interval?"""
    return row is not None and row["high"] is not None and bool(row["high"] < bound)


def tested(contrast: Row | None, unit: str) -> str:
    """The difference with its interval, and how sure it is; q where many were tested at once. Of
    drawn documents, which have no p, the interval alone."""
    if contrast is None or contrast["difference"] == 0:
        return ""
    if contrast["p"] is None and contrast["reason"] is not None:
        return f" (not tested: {contrast['reason']})"
    row = {"value": contrast["difference"], "low": contrast["low"], "high": contrast["high"]}
    told = points(row) if unit == "share" else amount(row, unit)
    return f" (difference {told}, {surely(contrast) or 'no p of drawn documents'})"


def surely(contrast: Row | None) -> str:
    """`q = 0.03`; p where nothing else was tested; empty where there is neither."""
    if contrast is None or contrast["p"] is None:
        return ""
    if contrast["q"] is None:
        return f"p = {probability(contrast['p'])}"
    return f"q = {probability(contrast['q'])}"
