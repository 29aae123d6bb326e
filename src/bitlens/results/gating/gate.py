"""The rules of a gate on a store: which numbers each is on, beside what, and what came of it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bitlens.errors import InputError, ResultsError
from bitlens.registry import nearest
from bitlens.results.gating.baseline import Baseline
from bitlens.results.gating.judging import (
    GateVerdict,
    JudgedNumber,
    JudgedRule,
    judge,
    undecided,
    worst,
)
from bitlens.results.gating.numbers import NumberTable
from bitlens.results.gating.rule import ANY, GateRule, matches
from bitlens.results.records import CALIBRATION, REFERENCE, TEXT, Check, Metric, TwinRecord
from bitlens.results.store import STORE, Store

Row = dict[str, Any]
Place = tuple[Any, ...]
PLACE = ("model", "compression", "analysis", "metric", "site", "item", "seed")
DOCUMENTS = "enough documents"
"""What the name of the check ends with that counts them."""
NO_TEXT = {"heads"}
"""Analyses that read sequences of their own: what is said of the text does not bear on them."""


@dataclass(frozen=True)
class GateOutcome:
    """What came of every rule, in the order given."""

    found: tuple[JudgedRule, ...]
    manifest: Mapping[str, Any] | None
    """Of the run; None where it did not come to its end."""

    @property
    def verdict(self) -> GateVerdict:
        """Of all rules together."""
        return worst([judged.verdict for judged in self.found])


def gate(root: Path, rules: Sequence[GateRule], baseline: Path | None = None) -> GateOutcome:
    """Every rule with the numbers that it is on. Of a run that did not come to its end none is
    decided.

    InputError for a rule that is on nothing, for `against: baseline` without one, and for one that
    no rule asks for; ResultsError for a folder that holds no results, and for a baseline that read
    other tokens.
    """
    _require_baseline(rules, baseline)
    try:
        store = Store.open(root)
    except ResultsError as error:
        if not (root / STORE).is_file() or Store(root).finished:
            raise
        return GateOutcome(tuple(JudgedRule(rule=rule, reason=error.found) for rule in rules), None)
    then = None if baseline is None else Baseline(store, Store.open(baseline))
    run = GatedRun(store, then)
    return GateOutcome(tuple(run.judged(rule) for rule in rules), store.manifest())


def _require_baseline(rules: Sequence[GateRule], baseline: Path | None) -> None:
    asking = next((rule for rule in rules if rule.against == "baseline"), None)
    if asking and baseline is None:
        raise InputError(
            f"{asking.place}: it is against a baseline, and none is given.",
            "an earlier run of the same texts.",
            "--baseline OTHER_RUN",
        )
    if baseline is not None and not asking:
        raise InputError(
            f"--baseline {baseline} is given, and no rule is against it.",
            "at least one rule with against: baseline.",
            "add one, or leave --baseline out.",
        )


class GatedRun:
    """What a run holds, as rules ask for it."""

    def __init__(self, store: Store, baseline: Baseline | None) -> None:
        self._store, self._baseline = store, baseline
        manifest = store.manifest()
        self._cells = manifest["cells"]
        self._metrics = {name: Metric(**of) for name, of in manifest["metrics"].items()}
        self._twins: dict[tuple[str, str], TwinRecord] = {}
        for of in manifest["twins"]:
            record = {name: value for name, value in of.items() if name != "model"}
            self._twins[of["model"], of["compression"]] = TwinRecord(**record)
        checks = (Check(**of) for of in manifest["checks"])
        # Of how many documents there are each number's own interval knows more.
        self._doubts = [c for c in checks if not c.passed and not c.name.endswith(DOCUMENTS)]
        self._estimates = NumberTable(store.read_table("estimates"))

    def judged(self, rule: GateRule) -> JudgedRule:
        """A rule with its numbers. InputError where there are none."""
        rows = [row for row in self._estimates.of(rule) if self._is_on(rule, row)]
        found = [*self._beside(rule, rows), *self._lost(rule)]
        if not found:
            raise self._nothing(rule)
        return JudgedRule(rule=rule, numbers=tuple(found))

    def _is_on(self, rule: GateRule, row: Mapping[str, Any]) -> bool:
        twin = self._twins.get((row["model"], row["compression"]))
        control = twin is not None and (twin.control or twin.floor)
        return rule.is_on_twin(row["compression"], control=control)

    def _beside(self, rule: GateRule, rows: list[Row]) -> Iterable[JudgedNumber]:
        """Each number as it is, or minus what the rule sets it beside."""
        sound = [row for row in rows if self._doubt(row) is None]
        if rule.against == "baseline":
            assert self._baseline is not None
            taken = self._baseline.differences(sound, self._metrics)
            beside = dict(zip(map(_place, sound), taken, strict=True))
        else:
            beside = self._contrasted(rule)
        for row in rows:
            metric = self._metrics[f"{row['analysis']}.{row['metric']}"]
            if doubt := self._doubt(row):
                yield undecided(row, doubt)
            elif rule.against is None:
                yield judge(rule, row, metric.scale)
            else:
                yield judge(rule, beside.get(_place(row)) or self._not_stored(rule, row, metric))

    def _contrasted(self, rule: GateRule) -> dict[Place, Row]:
        """The differences from the rule's control that the store holds."""
        if rule.against is None:
            return {}
        return {
            _place(one): {**one, "value": one["difference"]}
            for one in self._contrasts.of(rule)
            if one["control"].partition(":")[0] == rule.against
        }

    def _not_stored(self, rule: GateRule, row: Row, metric: Metric) -> Row:
        """A difference that the store does not hold. The reference is at the intact value, so that
        a number's own interval is one from it."""
        nothing = {**row, "value": None, "low": None, "high": None, "control": rule.against}
        if rule.against == REFERENCE and metric.intact is not None:
            ends = (("value", row["value"]), ("low", row["low"]), ("high", row["high"]))
            return nothing | {
                "reason": row["reason"],
                **{name: None if at is None else at - metric.intact for name, at in ends},
            }
        reason = f"the run holds no difference from {rule.against} of it"
        if metric.level:
            reason = "it describes one model, and the run holds no difference of it"
        return nothing | {"reason": reason}

    @cached_property
    def _contrasts(self) -> NumberTable:
        return NumberTable(self._store.read_table("contrasts"))

    def _lost(self, rule: GateRule) -> Iterable[JudgedNumber]:
        """What the rule would be on in cells that failed."""
        measured = {name.partition(".")[0] for name in self._metrics}
        for cell in self._cells:
            names = [name for name in self._metrics if name.startswith(f"{cell['analysis']}.")]
            named = any(matches(rule.metric, name) for name in names) or (
                cell["analysis"] not in measured
                and matches(rule.metric.partition(".")[0], cell["analysis"])
            )
            place = {**cell, "site": "", "item": "", "metric": rule.metric.partition(".")[2]}
            if cell["status"] == "done" or not named or not self._is_on(rule, cell):
                continue
            if matches(rule.model, cell["model"]):
                blank = dict.fromkeys(("value", "low", "high")) | {"documents": 0}
                told = (cell["reason"] or "no reason was kept").partition("\n")[0]
                yield undecided(place | blank, f"it was not measured: {told.rstrip('.')}")

    def _doubt(self, row: Row) -> str | None:
        """A check that did not pass and on which this number rests; what it says. One of the whole
        text or twin counts where it failed, one of an SAE where it is not sure to fit, too."""
        for check in self._doubts:
            about = check.model in ("", row["model"])
            about = about and (not check.twins or row["compression"] in check.twins)
            if about and self._rests(row, check):
                return f"{check.name}: {check.detail.rstrip('.')}"
        return None

    def _rests(self, row: Row, check: Check) -> bool:
        if check.bears_on and check.bears_on == row["item"].partition(",")[0]:
            return True
        if check.passed is None:
            return False
        if check.bears_on == TEXT:
            return row["analysis"] not in NO_TEXT
        if check.bears_on == CALIBRATION:
            return self._twins[row["model"], row["compression"]].calibrated
        return not check.bears_on

    def _nothing(self, rule: GateRule) -> InputError:
        """The rule is on nothing: the first of its patterns that nothing has."""
        known = self._estimates.known
        columns: dict[str, tuple[str, Collection[str]]] = {
            "metric": (rule.metric, self._estimates.metrics),
            "model": (rule.model, dict.fromkeys(model for model, _ in self._twins)),
            "twin": (rule.twin or ANY, dict.fromkeys(name for _, name in self._twins)),
            "site": (rule.site, known("site")),
            "item": (rule.item, known("item")),
        }
        for name, (pattern, has) in columns.items():
            if not any(matches(pattern, one) for one in has):
                some = ", ".join(list(has)[:12]) + (", ..." if len(has) > 12 else "")
                return InputError(
                    f"{rule.place}: no {name} of the run is {pattern}.",
                    f"a name or a pattern of one of {some}.",
                    nearest(pattern, has) or f"bitlens export {self._store.root} lists them all.",
                )
        return InputError(
            f"{rule.place}: the run has no number that is {rule.named}, though it has each part.",
            "a metric of that twin at that site and item.",
            f"bitlens export {self._store.root} lists them all; a control is meant only by a twin "
            "that begins with its method, as noise:*.",
        )


def _place(row: Row) -> Place:
    return tuple(row[name] for name in PLACE)
