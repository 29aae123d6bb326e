"""The tables of a sensitivity run: the units by how much they matter, and how far effects add."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from bitlens.errors import visible
from bitlens.report.page.parts import Column, Table
from bitlens.report.text.few import sayable
from bitlens.report.text.numbers import amount, figure, margin
from bitlens.results.counts import count
from bitlens.results.records import FEWEST
from bitlens.results.sensitivity.additivity import additivity
from bitlens.results.sensitivity.folder import Sensitivity
from bitlens.results.sensitivity.measures import MEASURES
from bitlens.results.sensitivity.proxies import agreements
from bitlens.results.sensitivity.records import Effect
from bitlens.results.stats.intervals import BOUNDS, LEVEL

SHOWN = 10
"""Units in a table that is read whole."""


def as_shown(run: Sensitivity) -> Sensitivity:
    """A run as it may be shown: every character that nobody can see is written out, because names
    are a model's; of too few documents there is no interval."""

    def of(records: Any) -> list[Any]:
        return [type(one)(**visible(asdict(one))) for one in records]

    effects = [Effect(**sayable(visible(asdict(e)))) for e in run.effects]
    return replace(
        run,
        about=visible(run.about),
        units=of(run.units),
        sizes=of(run.sizes),
        effects=effects,
        proxies=of(run.proxies),
    )


def surely_more(run: Sensitivity, one: Effect, other: Effect) -> bool:
    """Whether one effect is larger than another, measured on the same documents."""
    if one.value is None or other.value is None or one.documents < FEWEST:
        return False
    replicates = np.subtract(one.replicates, other.replicates)
    low, _ = BOUNDS[run.method](one.value - other.value, replicates, LEVEL)
    return bool(low > 0)


def ranked(run: Sensitivity, compression: str, measure: str, item: str = "") -> list[Effect]:
    """The effects of the units of one compression alone, the largest first; those without a value
    last."""
    found = [
        e
        for e in run.effects
        if (e.compression, e.measure, e.item, e.way) == (compression, measure, item, "only")
    ]
    return sorted(found, key=lambda e: (e.value is None, -(e.value or 0.0)))


def units(run: Sensitivity, most: int = SHOWN) -> Iterator[Table]:
    """A table a compression and measure: the units that matter most, both ways."""
    for compression in run.about["asked"]["compressions"]:
        bits = run.bits(compression)
        for measure in run.about["asked"]["measures"]:
            for item in run.items(measure):
                order = ranked(run, compression, measure, item)
                unit = MEASURES[measure].metric.unit
                back = run.of("all but", measure, item)
                whole = run.of("whole", measure, item)[compression, ""]
                rows = []
                for e in order[:most]:
                    other = back.get((compression, e.unit))
                    rows.append(
                        (
                            e.unit,
                            figure(bits[e.unit]) if e.unit in bits else "",
                            margin(asdict(e), unit),
                            margin(asdict(other), unit) if other else "",
                        )
                    )
                of = f" of {item}" if item else ""
                left = sum(e.value is not None for e in order) - len(rows)
                rest = f" {left} more units matter less." if left else ""
                yield Table(
                    (
                        Column("unit"),
                        Column("bits a weight", numeric=True),
                        Column("only this", numeric=True),
                        Column("all but this: saved", numeric=True),
                    ),
                    tuple(rows),
                    f"{measure}{of} under {compression}: {amount(asdict(whole), unit)} where "
                    f"everything is compressed.{rest}",
                )


def adding(run: Sensitivity) -> Table:
    """How far effects add."""
    rows = tuple(
        (
            a.compression,
            a.measure + (f" of {a.item}" if a.item else ""),
            a.way,
            margin(sayable(asdict(a))),
        )
        for a in additivity(run)
    )
    return Table(
        (Column("compression"), Column("measure"), Column("way"), Column("ratio", numeric=True)),
        rows,
        "The sum of the units' effects over that of the whole: 1 where effects add, more where "
        "they hide behind each other.",
    )


def agreeing(run: Sensitivity) -> Table:
    """How well other tools' scores order the units."""
    rows = tuple(
        (
            a.proxy,
            a.compression,
            a.measure + (f" of {a.item}" if a.item else ""),
            margin(sayable(asdict(a))) if a.value is not None else a.reason or "",
        )
        for a in agreements(run)
    )
    return Table(
        (
            Column("score"),
            Column("compression"),
            Column("measure"),
            Column("rank correlation", numeric=True),
        ),
        rows,
        "Scores that other tools rank units by, beside the measured effects: 1 the same order, 0 "
        "by chance. Without an interval: the order is the same whichever documents are left out.",
    )


def staged(run: Sensitivity) -> str:
    """Which units left early, when, and what that saved; nothing where all were read to the end."""
    top, stages = run.about["asked"].get("top"), run.about.get("stages") or ()
    if top is None or not stages:
        return ""
    gone = [
        f"{count(len(stage['left']), 'unit')} after {count(stage['documents'], 'document')}"
        for stage in stages[:-1]
    ]
    if not gone:
        return (
            f"The {top} that matter most were sought, but nothing could leave early: a first stage "
            f"takes {FEWEST} documents, and is at most half of them."
        )
    passes, without = sum(stage["passes"] for stage in stages), run.about["unstaged"]
    return (
        f"The {top} that matter most were sought. Left, because surely less: {', '.join(gone)} "
        f"(each under a compression). Their numbers are of these documents. It took "
        f"{passes:.1f} forwards of all documents, and would have taken {without:.1f}: "
        f"{figure(100 * (1 - passes / without))} % less."
    )


def told(run: Sensitivity) -> list[Table]:
    """What a terminal shows."""
    run = as_shown(run)
    return [*units(run), adding(run), agreeing(run)]
