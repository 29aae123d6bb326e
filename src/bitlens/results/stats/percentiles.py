"""The number of documents from which on the interval of a percentile can be believed.

The tail of a corpus is made by few documents, and an interval made from 20 parts of it is too
narrow long before the percentile itself is wrong.
"""

from typing import Literal

Method = Literal["jackknife", "bootstrap"]
"""How replicates were made: a shard left out, or documents drawn with replacement."""

# Made by `python benchmarks/coverage.py`; figures and populations in benchmarks/coverage.md.
MOST_SIMULATED = 1000
NEEDED: dict[Method, dict[float, int | None]] = {
    "jackknife": {0.5: 10, 0.9: 50, 0.95: 100, 0.99: 1000, 0.999: None},
    "bootstrap": {0.5: None, 0.9: None, 0.95: None, 0.99: None, 0.999: None},
}
"""Percentile -> the fewest documents from which on a 95 % interval covered at least 93 % in every
simulated population; None where it never did."""


def documents_needed(quantile: float, method: Method) -> int | None:
    """How many documents does an interval of this quantile take? None: more than were simulated.

    A quantile below the median needs what its mirror image needs; one between two simulated
    ones what the further out needs.
    """
    outwards = max(quantile, 1 - quantile)
    for simulated, documents in sorted(NEEDED[method].items()):
        if outwards <= simulated + 1e-9:
            return documents
    return None


def too_few(quantile: float, documents: int, method: Method) -> str | None:
    """Why has a percentile from so many documents no interval? None where it can have one."""
    needed = documents_needed(quantile, method)
    name = f"percentile {100 * quantile:g}"
    if needed is None:
        return (
            f"no interval: in simulation a 95 % interval of {name} covered less than 93 %, "
            f"with up to {MOST_SIMULATED} documents"
        )
    if documents < needed:
        return f"no interval: {name} needs {needed} documents for one, there are {documents}"
    return None
