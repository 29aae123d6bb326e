"""What a gate says of a rule and of a number, in words."""

from collections.abc import Iterable, Mapping
from typing import Any

from bitlens.errors import in_one_line
from bitlens.report.text.numbers import amount, points
from bitlens.results.counts import count
from bitlens.results.gating.gate import NO_TEXT, GateOutcome
from bitlens.results.gating.judging import (
    CROSSES,
    MOST,
    WORST,
    GateVerdict,
    JudgedNumber,
    JudgedRule,
)
from bitlens.results.gating.rule import GateRule
from bitlens.results.records import TOO_FEW

MARKS: dict[GateVerdict, str] = {"pass": "pass", "fail": "FAIL", "undecided": "cannot decide"}
"""The verdict of a rule and of a gate, in words."""
SHARE = 100.0


class GateWords:
    """How the numbers of a run are told: by their units, with model and seed where it has many."""

    def __init__(self, manifest: Mapping[str, Any] | None) -> None:
        known = manifest or {"metrics": {}, "models": [], "settings": {"seeds": []}, "corpora": []}
        self._units = {name: of["unit"] for name, of in known["metrics"].items()}
        self._many = len(known["models"]) > 1
        self._seeds = len(known["settings"]["seeds"]) > 1
        self._documents = {corpus["documents"] for corpus in known["corpora"]}

    def bound(self, judged: JudgedRule) -> str:
        """`at most 0.1 nats`; in percent where all numbers of the rule are shares."""
        rule = judged.rule
        units = {self._unit(one.row) for one in judged.numbers} or {""}
        unit = units.pop() if len(units) == 1 else ""
        side = rule.side.replace("_", " ")
        return f"{side} {self._figure(rule, unit)}"

    def rule(self, judged: JudgedRule) -> str:
        """`behaviour.kl of rtn:* at most 0.1 nats`."""
        return in_one_line(f"{judged.rule.named} {self.bound(judged)}")

    def counted(self, judged: JudgedRule) -> str:
        """`2 of 8 numbers fail, 1 cannot be decided`."""
        if judged.reason:
            return in_one_line(judged.reason)
        total = count(len(judged.numbers), "number")
        if judged.verdict == "pass" or len(judged.numbers) == 1:
            return total
        first, *others = _numbered(
            judged.numbers, fail=("fails", "fail"), undecided=("cannot be decided",)
        )
        some, words = first.split(" ", 1)
        return ", ".join([f"{some} of {total} {words}", *others])

    def where(self, row: Mapping[str, Any]) -> str:
        """`rtn:bits=4 at resid.2 (resid.2-topk)`, with model and seed where there are several."""
        place = row["compression"]
        if row["site"] not in ("", "logits", "pattern"):
            place += f" at {row['site']}"
        if row["item"]:
            place += f" ({row['item']})"
        place = f"{row['model']}, {place}" if self._many else place
        return in_one_line(f"{place}, seed {row['seed']}" if self._seeds else place)

    def number(self, rule: GateRule, one: JudgedNumber) -> str:
        """Where it stands, what it is, and why it does not pass."""
        row, unit = one.row, self._unit(one.row)
        where = self.where(row)
        if rule.metric != f"{row['analysis']}.{row['metric']}":
            where = f"{row['analysis']}.{row['metric']} of {where}"
        if row["value"] is None:
            return in_one_line(f"{where}: {one.reason}")
        if one.reason == TOO_FEW:
            row = {**row, "low": None, "high": None, "reason": TOO_FEW}
        shown = points(row) if rule.against and unit == "share" else amount(row, unit)
        told = f"{where}: {shown}"
        if one.verdict != "undecided":
            return in_one_line(told)
        if one.reason in (CROSSES, TOO_FEW):
            return in_one_line(f"{told}{self._more(one)}")
        return in_one_line(f"{told}; {one.reason}")

    def _more(self, one: JudgedNumber) -> str:
        """How many documents would decide it, about."""
        row, now = one.row, one.row["documents"]
        if one.needed is None:
            return (
                f"; it lies on the bound: {MOST} times the documents would not decide it, another "
                "bound would"
            )
        if now in self._documents and row["analysis"] not in NO_TEXT:
            return f"; about {one.needed:,} documents would decide it, {now:,} were read"
        return f"; about {one.needed / now:.1f} times as many documents would decide it"

    def _unit(self, row: Mapping[str, Any]) -> str:
        return str(self._units.get(f"{row['analysis']}.{row['metric']}", ""))

    def _figure(self, rule: GateRule, unit: str) -> str:
        if unit == "share":
            value, unit = SHARE * rule.bound, "points" if rule.against else "%"
        else:
            value = rule.bound
        return f"{value:.10g} {unit}".rstrip().replace("-", "−")


def shown_first(judged: JudgedRule) -> list[JudgedNumber]:
    """What does not pass: failures first, the farthest beyond the bound first."""
    rule = judged.rule
    sign = 1 if rule.side == "at_most" else -1

    def far(one: JudgedNumber) -> tuple[int, float]:
        value = one.row["value"]
        return WORST.index(one.verdict), 0.0 if value is None else -sign * (value - rule.bound)

    return sorted((one for one in judged.numbers if one.verdict != "pass"), key=far)


def conclusion(outcome: GateOutcome) -> str:
    """`Gate: FAIL. 1 rule fails, 2 cannot be decided, 3 pass.`"""
    told = ", ".join(
        _numbered(
            outcome.found,
            fail=("rule fails", "rules fail"),
            undecided=("rule cannot be decided", "rules cannot be decided"),
            **{"pass": ("rule passes", "rules pass")},
        )
    )
    return f"Gate: {MARKS[outcome.verdict]}. {told}."


def _numbered(found: Iterable[JudgedRule | JudgedNumber], **words: tuple[str, ...]) -> list[str]:
    """`1 fails`, `2 cannot be decided`: how many of each verdict; `words`: for one, and for
    several."""
    verdicts = [one.verdict for one in found]
    counted = {verdict: sum(one == verdict for one in verdicts) for verdict in words}
    return [
        f"{some} {words[verdict][0] if some == 1 else words[verdict][-1]}"
        for verdict, some in counted.items()
        if some
    ]
