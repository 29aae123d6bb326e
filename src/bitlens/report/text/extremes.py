"""Which twins kept most of something and which least, as a heading and the numbers under it."""

from collections.abc import Mapping

from bitlens.report.audit_results import Row
from bitlens.report.page.parts import Statement
from bitlens.report.text.numbers import amount, plain, points

SHOWN = 4
"""Twins whose numbers stand under a heading; of more, as many from both ends."""


def apart(first: Row, second: Row) -> bool:
    """Do two intervals leave each other alone? Without intervals nobody can say: False."""
    ends = (first["low"], first["high"], second["low"], second["high"])
    if None in ends:
        return False
    return bool(first["low"] > second["high"] or second["low"] > first["high"])


def each(found: Mapping[str, Row], unit: str) -> str:
    """`rtn:bits=8 99.2 % [99.1, 99.4]; rtn:bits=4 84.3 % [83.2, 85.3]`, in the order given; a
    difference of shares in `points`."""
    told = [
        f"{twin} {points(row) if unit == 'points' else amount(row, unit)}"
        for twin, row in found.items()
    ]
    half = SHOWN // 2
    return "; ".join(told if len(told) <= SHOWN else [*told[:half], "...", *told[-half:]])


def most_and_least(found: Mapping[str, Row], kept: str) -> tuple[Statement, ...]:
    """`rtn:bits=8 keeps 100.0 % of its features, rtn:bits=3 14.8 %`, where the intervals of these
    two leave each other alone. `kept` is what is kept, `found` the share of it by twin. Nothing of
    no twin."""
    if not found:
        return ()
    order = sorted(found, key=lambda twin: found[twin]["value"], reverse=True)
    most, least = (found[twin] for twin in (order[0], order[-1]))
    numbers = f"{each({twin: found[twin] for twin in order}, 'share')}."
    text = f"{order[0]} keeps {_share(most)} of {kept}"
    if len(order) > 1 and apart(most, least):
        text += f", {order[-1]} {_share(least)}"
    elif len(order) > 1:
        text = f"No twin surely keeps more of {kept} than another"
    return (Statement(text, numbers),)


def _share(row: Row) -> str:
    return f"{plain(100 * row['value'], 1)} %"
