"""One number beside a rule's bound: it passes, it fails, or it cannot be decided, and then how many
documents would decide it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bitlens.results.gating.rule import GateRule
from bitlens.results.records import FEWEST, TOO_FEW, Scale
from bitlens.results.stats.intervals import LEVEL
from bitlens.results.stats.scales import to_scale

GateVerdict = Literal["pass", "fail", "undecided"]
WORST: tuple[GateVerdict, ...] = ("fail", "undecided", "pass")
"""What several numbers together are: the first of these that one of them is."""
MOST = 100
"""Times the documents that there are, or 20; of what needs more the value lies on the bound."""
CROSSES = "its interval crosses the bound"


@dataclass(frozen=True, kw_only=True)
class JudgedNumber:
    """A number beside a rule's bound."""

    row: Mapping[str, Any]
    """Where it stands (`model`, `compression`, `site`, `item`, ...), and its `value`, `low`, `high`
    and `documents`; of a rule that subtracts, those of the difference, and `control`."""
    verdict: GateVerdict
    reason: str = ""
    """Why it cannot be decided."""
    needed: int | None = None
    """How many documents would decide it, about; None where that does not follow, or where the
    value lies on the bound."""


@dataclass(frozen=True, kw_only=True)
class JudgedRule:
    """A rule, and every number that it is on."""

    rule: GateRule
    numbers: tuple[JudgedNumber, ...] = ()
    reason: str = ""
    """Why there are none."""

    @property
    def verdict(self) -> GateVerdict:
        """The worst of its numbers; undecided where there are none."""
        return worst([one.verdict for one in self.numbers] or ["undecided"])


def worst(verdicts: Sequence[GateVerdict]) -> GateVerdict:
    """Fail before undecided before pass."""
    return min(verdicts, key=WORST.index)


def judge(rule: GateRule, row: Mapping[str, Any], scale: Scale = "linear") -> JudgedNumber:
    """Does the whole interval lie on the rule's side of the bound, on the other, or on both?

    `scale`: that on which the interval was built. Of fewer than 20 documents an interval does not
    cover what it says, and decides nothing, but where it is a point.
    """
    value, low, high = row["value"], row["low"], row["high"]
    if value is None or low is None or high is None:
        return undecided(row, row["reason"] or "it has no interval")
    if row["documents"] < FEWEST and low != high:
        return _open(rule, row, TOO_FEW, scale)
    beyond, within = (low, high) if rule.side == "at_most" else (-high, -low)
    bound = rule.bound if rule.side == "at_most" else -rule.bound
    if within <= bound:
        return JudgedNumber(row=row, verdict="pass")
    if beyond > bound:
        return JudgedNumber(row=row, verdict="fail")
    return _open(rule, row, CROSSES, scale)


def _open(rule: GateRule, row: Mapping[str, Any], reason: str, scale: Scale) -> JudgedNumber:
    needed = _needed(rule, row, scale)
    return JudgedNumber(row=row, verdict="undecided", reason=reason, needed=needed)


def undecided(row: Mapping[str, Any], reason: str) -> JudgedNumber:
    """A number about which nothing can be said, however many documents are read."""
    return JudgedNumber(row=row, verdict="undecided", reason=reason)


def _needed(rule: GateRule, row: Mapping[str, Any], scale: Scale) -> int | None:
    """How many documents make the half of the interval that faces the bound as short as the way
    there? An estimate: the value is taken to stay where it is.

    A half is Student's t times a standard error, which is as 1 over the root of the documents, so
    n (half / way)^2, on the scale of the interval; t has 19 degrees of freedom from 20 documents
    on, and drops out; of fewer it has one less than documents.
    """
    value, documents = float(row["value"]), int(row["documents"])
    end = row["high"] if rule.bound > value else row["low"]
    numbers = np.array([value, end, rule.bound], dtype=np.float64)
    mapped = to_scale(numbers, scale)
    at, far, bound = map(float, numbers if mapped is None else mapped)
    way, half = abs(bound - at), abs(far - at)
    if documents < FEWEST:
        half *= _student(FEWEST) / _student(documents)
    if documents * half**2 >= MOST * max(documents, FEWEST) * way**2:
        return None
    return max(FEWEST, math.ceil(documents * (half / way) ** 2))


def _student(documents: int) -> float:
    from scipy.special import stdtrit  # as in intervals.py

    return float(stdtrit(documents - 1, (1 + LEVEL) / 2))
