"""The word for a twin: intact, changed, damaged, broken or undecided, by rules on intervals.

The rules stand in `status.yaml`, with what each word means and what to do about it. None looks at
a bare point estimate: what an interval does not settle stays open.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from bitlens.errors import InputError
from bitlens.registry import nearest
from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import words
from bitlens.report.text.doubts import doubted, overflow_site
from bitlens.report.text.numbers import amount, figure
from bitlens.results.files.reading import read_bytes
from bitlens.results.records import TwinRecord

Word = Literal["broken", "damaged", "changed", "intact", "undecided"]
WORST_FIRST: tuple[Word, ...] = ("broken", "damaged", "changed")
"""The words that rules give."""
Outcome = Literal["holds", "open", "refuted"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A bound on one number of a twin, and the word for being beyond it."""

    word: Word
    metric: str
    """`analysis.metric`."""
    side: Literal["below", "above"]
    """On which side of the bound the rule holds."""
    bound: float

    @property
    def text(self) -> str:
        """`features.survived below 0.75`."""
        return f"{self.metric} {self.side} {self.bound:g}"

    def outcome(self, row: Row) -> Outcome:
        """Does it hold of an estimate? Of one without an interval only where nothing changed."""
        low, high, value = row["low"], row["high"], row["value"]
        if low is None or high is None:
            return "refuted" if value == row["intact"] else "open"
        if self.side == "below":
            low, high, bound = -high, -low, -self.bound
        else:
            bound = self.bound
        return "holds" if low > bound else "refuted" if high <= bound else "open"


@dataclass(frozen=True)
class Judged:
    """A rule beside an estimate."""

    rule: Rule
    row: Row

    @property
    def outcome(self) -> Outcome:
        """Holds, open or refuted."""
        return self.rule.outcome(self.row)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Every rule, and of every word what it means and what to do."""

    rules: tuple[Rule, ...]
    means: Mapping[str, str]
    advice: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Status:
    """The word for a twin, and what it rests on."""

    word: Word
    means: str
    advice: str
    because: tuple[str, ...]
    """The rules that gave the word, each with its number; why a twin is undecided."""
    maybe: tuple[str, ...] = ()
    """Rules of a worse word that the intervals leave open."""
    judged: tuple[Judged, ...] = field(default=(), repr=False)
    """Every rule that there was a number for."""


def status(results: AuditResults, model: str, twin: TwinRecord) -> Status:
    """The word for a twin that was measured: the worst one that a rule surely gives it.

    What was read through an SAE that is in doubt is not judged.
    """
    known = results.rules or shipped()
    name = twin.compression
    if place := overflow_site(results, model, name):
        reason = f"it overflows at {place}, computed in {twin.dtype}, and has no numbers from there"
        return _status(known, "broken", (reason,))
    judged = tuple(_judged(results, model, name, known))
    if not judged:
        return _status(known, "undecided", ("nothing was measured that a rule is about",))
    word = next((w for w in WORST_FIRST if _with(judged, w, "holds")), None)
    worse = WORST_FIRST[: WORST_FIRST.index(word)] if word else WORST_FIRST
    maybe = tuple(_said(results, one) for w in worse for one in _with(judged, w, "open"))
    if word:
        because = tuple(_said(results, one) for one in _with(judged, word, "holds"))
        return _status(known, word, because, maybe=maybe, judged=judged)
    return _status(known, "undecided" if maybe else "intact", maybe, judged=judged)


def _status(rules: Rules, word: Word, because: tuple[str, ...], **more: Any) -> Status:
    means, advice = rules.means[word], rules.advice[word]
    return Status(word=word, means=means, advice=advice, because=because, **more)


def _with(judged: tuple[Judged, ...], word: Word, outcome: Outcome) -> list[Judged]:
    return [one for one in judged if one.rule.word == word and one.outcome == outcome]


def _judged(results: AuditResults, model: str, name: str, rules: Rules) -> Iterator[Judged]:
    unsure = doubted(results, model)
    for rule in rules.rules:
        for row in results.everywhere(model, name, rule.metric):
            if row["item"] not in unsure:
                yield Judged(rule, row)


def _said(results: AuditResults, one: Judged) -> str:
    """`survived at resid.2 is 73.4 % [70.7, 76.0]: below 75 %`."""
    row, unit = one.row, results.metrics[one.rule.metric].unit
    place = "" if row["site"] in ("logits", "pattern") else f" at {row['site']}"
    bound = f"{one.rule.side} {figure(one.rule.bound, unit)}"
    told = bound if one.outcome == "holds" else f"perhaps {bound}"
    return f"{words(row['metric'])}{place} is {amount(row, unit)}: {told}"


@cache
def shipped() -> Rules:
    """The rules that come with bitlens."""
    text = (files("bitlens.report") / "status.yaml").read_text(encoding="utf-8")
    return parse(text, "status.yaml")


def read(path: Path) -> Rules:
    """Rules of a file. BitlensError where it cannot be read, or is not of this form."""
    try:
        return parse(read_bytes(path).decode(), str(path))
    except UnicodeDecodeError as error:
        raise _wrong(str(path), f"it is no text: {error}") from None


def require_measurable(rules: Rules, results: AuditResults) -> None:
    """InputError for a rule on a number that the analysis it names does not give: it would hold of
    nothing, and every twin would look better for it."""
    ran = {name.partition(".")[0] for name in results.metrics}
    for rule in rules.rules:
        if rule.metric not in results.metrics and rule.metric.partition(".")[0] in ran:
            raise InputError(
                f"A rule of {rule.word} is on {rule.metric}, which was not measured.",
                "a number of an analysis that was run, as analysis.metric.",
                nearest(rule.metric, results.metrics) or "bitlens list metrics shows every number.",
            )


def parse(text: str, source: str) -> Rules:
    """Rules from YAML text. InputError with what is wrong, and where."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _wrong(source, str(error).replace("\n", " ")) from None
    words = get_args(Word)
    if not isinstance(found, dict) or set(found) != set(words):
        raise _wrong(source, f"its words are {_keys(found)}, not {', '.join(words)}")
    rules = []
    for word in words:
        entry = found[word]
        told = {"means", "advice", *(["rules"] if word in WORST_FIRST else [])}
        if not isinstance(entry, dict) or set(entry) != told:
            raise _wrong(source, f"{word} has {_keys(entry)}, not {', '.join(sorted(told))}")
        rules += [_rule(one, word, source) for one in entry.get("rules") or ()]
    return Rules(
        rules=tuple(rules),
        means={word: str(found[word]["means"]) for word in words},
        advice={word: str(found[word]["advice"]) for word in words},
    )


def _rule(entry: Any, word: Word, source: str) -> Rule:
    sides = {"below", "above"}
    if not isinstance(entry, dict) or "metric" not in entry or len(entry) != 2:
        raise _wrong(source, f"a rule of {word} is {entry!r}, not a metric and a bound")
    (side,) = set(entry) - {"metric"}
    bound = entry[side]
    if side not in sides:
        raise _wrong(source, f"a rule of {word} has {side!r}, not {' or '.join(sorted(sides))}")
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        raise _wrong(source, f"the bound of {entry['metric']} is {bound!r}, not a number")
    return Rule(word=word, metric=str(entry["metric"]), side=side, bound=float(bound))


def _keys(found: Any) -> str:
    return ", ".join(map(str, found)) if isinstance(found, dict) else repr(found)


def _wrong(source: str, what: str) -> InputError:
    return InputError(
        f"{source}: {what}.",
        "of each word what it means, what to do and its rules, as {metric: features.survived, "
        "below: 0.75}.",
        "a copy of status.yaml, which comes with bitlens, with other bounds.",
    )
