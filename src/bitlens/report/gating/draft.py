"""Rules to begin with, drafted from a run: they keep what it is, between its own controls."""

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any

import yaml

from bitlens.errors import InputError, in_one_line
from bitlens.report.status import shipped
from bitlens.report.text.numbers import amount, figure
from bitlens.results.estimates import controls_of
from bitlens.results.records import FEWEST, REFERENCE, Metric, TwinRecord
from bitlens.results.store import Store

Row = dict[str, Any]
HALVES = 2
"""Half intervals that a number may get worse by before its rule fails or is open."""
DIGITS = 2
"""Of the way from intact to a bound, rounded away from intact."""
HEAD = """\
# Rules of a gate, drafted from a run: bitlens gate RUN --rules THIS-FILE
#
# A rule is on the bounds of a 95 % interval. It passes where the whole interval is within the
# bound, fails where all of it is beyond, and cannot be decided where it crosses the bound.
# at_most, at_least: the bound. twin, site, item: which numbers; * stands for anything.
# against: noise | cast | reference | baseline: the bound is on the difference from that.
#
# Every bound here is the worst of what this run measured: the number with twice the half of its
# interval, and, where they were run, noise of the same size and computing in 16 bits. So this run
# passes, and one that clearly does more harm does not. They know nothing of what you need: tighten
# them to that.
rules:
"""


def draft(store: Store) -> str:
    """The file, as YAML with comments. InputError where no number that a twin is judged by has an
    interval."""
    drafted = DraftedRules(store)
    lines = [line for model, twin in drafted.twins for line in drafted.of(model, twin)]
    if not any(line.startswith("  - ") for line in lines):
        raise InputError(
            f"{store.root} has no number with an interval that a rule could be drafted from.",
            f"one of {', '.join(drafted.names)}, over {FEWEST} documents or more.",
            "an audit with more --tokens, or rules written by hand: bitlens export lists every "
            "number.",
        )
    return HEAD + "\n".join(lines) + "\n"


class DraftedRules:
    """The numbers of a run from which rules are drafted."""

    def __init__(self, store: Store) -> None:
        manifest = store.manifest()
        self.names = list(dict.fromkeys(rule.metric for rule in shipped().rules))
        self._metrics = {name: Metric(**of) for name, of in manifest["metrics"].items()}
        self._many = len(manifest["models"]) > 1
        self._twins: dict[str, list[TwinRecord]] = {}
        for of in manifest["twins"]:
            record = {key: value for key, value in of.items() if key != "model"}
            self._twins.setdefault(of["model"], []).append(TwinRecord(**record))
        self._rows = _by_twin(store.read_table("estimates").to_pylist())
        self._contrasts = _by_twin(store.read_table("contrasts").to_pylist())

    @property
    def twins(self) -> list[tuple[str, TwinRecord]]:
        """Every twin that is no control."""
        return [
            (model, twin)
            for model, twins in self._twins.items()
            for twin in twins
            if not twin.control and not twin.floor
        ]

    def of(self, model: str, twin: TwinRecord) -> Iterator[str]:
        """The lines of one twin: comments, and rules."""
        told = f"{twin.compression} of {model}" if self._many else twin.compression
        failed = twin.status != "done"
        yield ""
        yield f"  # {in_one_line(told)}{' was not measured: no rule is on it' * failed}"
        for name in self.names:
            rows = self._rows.get((name, model, twin.compression), [])
            for place in dict.fromkeys((row["site"], row["item"]) for row in rows):
                seeds = [row for row in rows if (row["site"], row["item"]) == place]
                several = len(rows) > len(seeds)
                yield from self._rule(name, model, twin, seeds, several)

    def _rule(
        self, name: str, model: str, twin: TwinRecord, rows: Sequence[Row], several: bool
    ) -> Iterator[str]:
        """A number's rule on its bound, and, where it is surely better than noise, one on that."""
        row, metric = rows[0], self._metrics[name]
        keys = {"metric": name, "twin": twin.compression}
        keys |= {"model": model} if self._many else {}
        keys |= {"site": row["site"]} if several and row["site"] else {}
        keys |= {"item": row["item"]} if several and row["item"] else {}
        if metric.intact is None or metric.worse is None or not all(map(_sayable, rows)):
            reason = row["reason"] or "it has no interval, or too few documents"
            yield f"  # no rule on {name}: {in_one_line(reason)}"
            return
        beside = self._beside(name, model, twin, row)
        by_chance = row["chance"]
        chance = "" if by_chance is None else f", by chance {figure(by_chance, metric.unit)}"
        known = f"intact {figure(metric.intact, metric.unit)}{chance}"
        yield f"  # today {amount(row, metric.unit)}; {known}"
        if beside:
            told = (f"{what} {amount(of, metric.unit)}" for what, of in beside.items())
            yield f"  # {'; '.join(told)}"
        sign = 1 if metric.worse == "higher" else -1
        ends = [_worse_end(of, sign) for of in beside.values() if _sayable(of)]
        ends += [of["value"] + HALVES * (_worse_end(of, sign) - of["value"]) for of in rows]
        side = "at_most" if sign > 0 else "at_least"
        yield _line(keys, {side: _outward(metric.intact, sign, ends)})
        if self._surely_better(name, model, twin, rows, sign):
            yield "  # better than noise of its size, surely: it stays so"
            yield _line({**keys, "against": "noise"}, {side: "0"})

    def _beside(self, name: str, model: str, twin: TwinRecord, row: Row) -> dict[str, Row]:
        """The same number of the noise of the twin's size and of the cast, where they were run."""
        found = {}
        for control in controls_of(twin.compression, self._twins[model]):
            for other in self._rows.get((name, model, control), []):
                at = all(other[key] == row[key] for key in ("site", "item", "seed"))
                if at and other["value"] is not None:
                    noise = control.startswith("noise")
                    found["noise of its size" if noise else "16 bits"] = other
        return found

    def _surely_better(
        self, name: str, model: str, twin: TwinRecord, rows: Sequence[Row], sign: int
    ) -> bool:
        place = {(row["site"], row["item"], row["seed"]) for row in rows}
        found = [
            one
            for one in self._contrasts.get((name, model, twin.compression), [])
            if (one["site"], one["item"], one["seed"]) in place
            and one["control"] != REFERENCE
            and one["control"].startswith("noise")
        ]
        return bool(found) and all(
            one["low"] is not None
            and one["documents"] >= FEWEST
            and max(sign * one["low"], sign * one["high"]) < 0
            for one in found
        )


def _by_twin(rows: list[Row]) -> dict[tuple[str, str, str], list[Row]]:
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        name = f"{row['analysis']}.{row['metric']}"
        found.setdefault((name, row["model"], row["compression"]), []).append(row)
    return found


def _sayable(row: Row) -> bool:
    """Has it an interval, and over documents enough?"""
    few = row["documents"] < FEWEST and row["low"] != row["high"]
    return row["value"] is not None and row["low"] is not None and not few


def _worse_end(row: Row, sign: int) -> float:
    return float(row["high"] if sign > 0 else row["low"])


def _outward(intact: float, sign: int, ends: Sequence[float]) -> str:
    """The worst of these ends, its way from intact rounded up to two digits; intact where none is
    worse."""
    way = max(sign * (end - intact) for end in ends)
    if way <= 0:
        return f"{intact:.10g}"
    step = Decimal(1).scaleb(math.floor(math.log10(way)) + 1 - DIGITS)
    rounded = (Decimal(way) / step).to_integral_value(ROUND_CEILING) * step
    return f"{(Decimal(intact) + sign * rounded).normalize():f}"


def _line(keys: Mapping[str, str], bound: Mapping[str, str]) -> str:
    """A rule as YAML has it, on one line."""
    cells = [f"{key}: {_quoted(value)}" for key, value in keys.items()]
    cells += [f"{key}: {value}" for key, value in bound.items()]
    return f"  - {{{', '.join(cells)}}}"


def _quoted(value: str) -> str:
    """As a YAML string that is itself, whatever stands in it."""
    written: str = yaml.safe_dump(value, default_style='"', width=math.inf)
    return written.strip()
