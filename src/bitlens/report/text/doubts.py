"""Checks that did not pass, and the sentences of a verdict that rest on them.

A check says what it bears on, a sentence what it uses: nothing here knows one of either by name.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from bitlens.report.audit_results import AuditResults, once
from bitlens.results.counts import agreeing, count
from bitlens.results.records import CALIBRATION, Check, overflowed

SIGNS = {True: "✓", False: "✗", None: "?"}
OVERFLOW, CELLS = "overflow", "cells"
"""What two checks bear on that the page itself makes: the sentence that says it, and nothing."""


@dataclass(frozen=True)
class Claim:
    """A sentence of the verdict, without its capital and full stop, and what it uses."""

    text: str
    uses: frozenset[str] = frozenset()
    """What checks may bear on: the text, the label of an SAE."""
    twins: frozenset[str] = frozenset()
    """Whose numbers it states."""
    leads: bool = True
    """Whether it says something of the twin, so that it can be the first."""


def claim(text: str, *uses: str, twins: Iterable[str | None] = (), leads: bool = True) -> Claim:
    """A sentence, what checks may bear on that it uses, and whose numbers it states."""
    return Claim(text, frozenset(uses), frozenset(twin for twin in twins if twin), leads)


@dataclass(frozen=True)
class Doubt:
    """A check of one model that failed or could not be decided."""

    check: Check
    number: int

    @property
    def mark(self) -> str:
        """The sign and number that stand after a sentence: `✗1`."""
        return f"{SIGNS[self.check.passed]}{self.number}"


def checks(results: AuditResults) -> list[Check]:
    """The checks of the run, and those that the numbers themselves call for."""
    return [*map(_advised, results.checks), *_overflows(results), *_complete(results)]


def doubts(results: AuditResults, model: str) -> list[Doubt]:
    """What did not pass for one model: what failed first."""
    found = [c for c in checks(results) if not c.passed and c.model in ("", model)]
    found.sort(key=lambda check: check.passed is None)
    return [Doubt(check, number) for number, check in enumerate(found, 1)]


def heading(results: AuditResults, model: str, claims: Iterable[Claim]) -> list[Check]:
    """The doubts as they stand before the verdict: numbered, and with what rests on them."""
    told = list(claims)
    found = []
    for doubt in doubts(results, model):
        resting = sum(rests(results, model, one, doubt) for one in told)
        rest = f" What rests on it is marked {doubt.mark}." if resting else ""
        name = f"{doubt.number}. {doubt.check.name}"
        detail = f"{doubt.check.detail.rstrip('.')}.{rest}"
        found.append(replace(doubt.check, name=name, detail=detail))
    return found


def rests(results: AuditResults, model: str, one: Claim, doubt: Doubt) -> bool:
    """Does a sentence use what the check bears on, of a twin that it is about?"""
    check = doubt.check
    if check.twins and one.twins.isdisjoint(check.twins):
        return False
    if check.bears_on == CALIBRATION:
        return any(results.calibrated(model, twin) for twin in one.twins)
    return not check.bears_on or check.bears_on in one.uses


def failed(
    results: AuditResults, model: str, uses: Iterable[str], twins: Iterable[str]
) -> list[str]:
    """`name: detail` of each check that failed and bears on what these use."""
    told = claim("", *uses, twins=twins)
    return [
        f"{doubt.check.name}: {doubt.check.detail}"
        for doubt in doubts(results, model)
        if doubt.check.passed is False and rests(results, model, told, doubt)
    ]


def titled(results: AuditResults, check: Check) -> Check:
    """With its model's name, where there are several."""
    if len(results.models) < 2 or not check.model:
        return check
    return replace(check, name=f"{check.model}: {check.name}")


def _advised(check: Check) -> Check:
    """A check that failed for want of text says what would mend it."""
    if check.passed or not check.name.endswith("enough documents"):
        return check
    advice = "To know more, read more documents: a larger --tokens, or another --text."
    return replace(check, detail=f"{check.detail.rstrip('.')}. {advice}")


def doubted(results: AuditResults, model: str) -> set[str]:
    """What checks of the run that did not pass bear on."""
    mine = (check for check in results.checks if check.model in ("", model))
    return {check.bears_on for check in mine if not check.passed}


def overflow_site(results: AuditResults, model: str, compression: str) -> str | None:
    """The first site from which a twin has no numbers, because they are not finite."""
    reasons = once(results, "reasons", lambda: _reasons(results))
    found = map(overflowed, reasons.get((model, compression), ()))
    return min((place for place in found if place), key=_depth, default=None)


def _reasons(results: AuditResults) -> dict[tuple[str, str], set[str]]:
    """Why numbers have no value or no interval, by model and compression."""
    found: dict[tuple[str, str], set[str]] = {}
    for row in results.estimates:
        if row["reason"]:
            found.setdefault((row["model"], row["compression"]), set()).add(row["reason"])
    return found


def _depth(place: str) -> float:
    """Sites in the order in which the residual stream meets them."""
    number = place.partition(".")[2]
    return float(number) if number.isdigit() else math.inf


def _overflows(results: AuditResults) -> Iterator[Check]:
    for model in results.models:
        for twin in (*results.measured(model), *results.controls(model)):
            if place := overflow_site(results, model, twin.compression):
                yield Check(
                    f"{twin.compression}: its numbers are finite",
                    passed=False,
                    detail=f"it overflows at {place}, computed in {twin.dtype}, and has no numbers "
                    "from there on; what comes before is measured, and so is the reference",
                    bears_on=OVERFLOW,
                    model=model,
                    twins=(twin.compression,),
                )


def _complete(results: AuditResults) -> Iterator[Check]:
    cells = results.manifest["cells"]
    for model in dict.fromkeys([*results.models, *(cell["model"] for cell in cells)]):
        mine = [cell for cell in cells if cell["model"] == model]
        failed = sum(cell["status"] == "failed" for cell in mine)
        have = agreeing(len(mine) - failed, "has", "have")
        detail = f"{len(mine) - failed} of {count(len(mine), 'cell')} {have} a result."
        yield Check("the study is complete", not failed, detail, bears_on=CELLS, model=model)
