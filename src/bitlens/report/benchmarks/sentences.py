"""What is said of a benchmark: a loss where the questions carry one, and how many it would take
where they do not."""

from bitlens.report.text.numbers import plain, points, probability
from bitlens.results.benchmarks.records import Change
from bitlens.results.counts import count
from bitlens.results.records import FEWEST

SURE = 0.05
"""A p-value below which flips are more than chance would make so one-sided."""


def verdict_of(change: Change) -> str:
    """`loses`, `gains` or `undecided`: a verdict only where the interval leaves 0 out and
    McNemar's test agrees, corrected over all twins and benchmarks where it is one of them."""
    p = change.p if change.q is None else change.q
    if change.low is None or change.high is None or p >= SURE:
        return "undecided"
    return "loses" if change.high < 0 else "gains" if change.low > 0 else "undecided"


def told(change: Change) -> str:
    """What a twin does to a benchmark, as the end of a sentence that begins with it."""
    moved = points({"value": change.difference, "low": change.low, "high": change.high})
    low, high = ("lower", "higher") if change.of_shares else ("lost", "gained")
    flips = f"{change.lost} {low}, {change.gained} {high} of {count(change.questions, 'question')}"
    word = verdict_of(change)
    if word != "undecided":
        amount = moved.lstrip("−")
        if word == "loses":
            ends = (change.high, change.low)
            less, more = (None if end is None else -end for end in ends)
            amount = points({"value": -change.difference, "low": less, "high": more})
        return f"{word} {amount} on {change.benchmark} ({flips}, {_tested(change)})"
    return f"{untold(change)} ({flips})"


def untold(change: Change) -> str:
    """Why there is no verdict, with the number of questions that it would take."""
    n = count(change.questions, "question")
    if change.needed is None:
        least = plain(100 * change.detectable, 1)
        return f"scores the same on {change.benchmark}: {n} would not show less than {least} points"
    more = max(change.needed, FEWEST)
    if more <= change.questions:
        return f"leaves {change.benchmark} undecided: {n}, {_tested(change)}"
    return (
        f"leaves {change.benchmark} undecided: {n} cannot tell {percent(change.reference)} from "
        f"{percent(change.score)}, it takes at least {more:,}"
    )


def _tested(change: Change) -> str:
    q = "" if change.q is None else f", q = {probability(change.q)}"
    return f"p = {probability(change.p)}{q}"


def percent(share: float) -> str:
    """`41.3 %`."""
    return f"{plain(100 * share, 1).removesuffix('.0')} %"
