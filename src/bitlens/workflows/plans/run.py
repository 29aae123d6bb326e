"""A plan from a sensitivity run to a folder: several are made and audited beside what they are held
against, the best is improved by swaps as long as one wins.

    RUN/plans/NAME/plan.yaml    the plan: a format for every unit
    RUN/plans/NAME/plan.json    what it promised, what it does, what it was held against
    RUN/plans/NAME/fragments/   the plan for other tools, a text to paste each
    RUN/plans/NAME/audit/       the audit of all of them, a store
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bitlens.compression.handover.tools import fragments
from bitlens.config.format_plan import FormatPlan, PlannedUnit, write_plan
from bitlens.config.study import Study, study_of_written
from bitlens.errors import InputError, failed
from bitlens.registry import nearest
from bitlens.results.benchmarks.folder import FOLDER
from bitlens.results.counts import count
from bitlens.results.files.names import inside, sanitise
from bitlens.results.files.writing import write
from bitlens.results.plans.measured import PLAN, read_measured, write_measured
from bitlens.results.plans.swaps import Swap, surely_less, swapped, swaps
from bitlens.results.plans.units import Choice
from bitlens.results.records import Value
from bitlens.results.sensitivity.folder import PLANS, Sensitivity, read_run
from bitlens.results.sensitivity.measures import (
    ANSWERS,
    BENCHMARK,
    MEASURES,
    DamageMeasure,
    Read,
    analyses_of,
)
from bitlens.results.stats.contrasts import contrasts
from bitlens.results.stats.intervals import interval
from bitlens.results.store import Store
from bitlens.workflows.audit.run import run as audit
from bitlens.workflows.bench.request import BenchRequest
from bitlens.workflows.plans.candidates import Candidates, Proposed
from bitlens.workflows.sensitivity.effects import over_items
from bitlens.workflows.session import Log

AUDIT, FRAGMENTS = "audit", "fragments"
TRIED = 6
"""Swaps that are audited in a round."""
ROUNDS = 3
"""Rounds of swaps, as long as one wins."""


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What a plan is to be."""

    budget: float
    """Bits per weight over the blocks' matrices, scales and zeros included."""
    protect: str = "kl"
    """The measure whose effect is to be least."""
    formats: tuple[str, ...] = ()
    """Of the run's compressions; none: all."""
    trust_remote_code: bool = False
    benchmarks: tuple[str, ...] = ()
    """The questions that are asked again, where these are what is protected: a folder of results
    asks nothing by itself, because tasks may be code."""
    limit: int | None = None
    include_path: str | None = None

    @property
    def name(self) -> str:
        """Of its folder."""
        return sanitise(f"{self.protect}-{self.budget:g}")


def plan(
    folder: Path, request: PlanRequest, out: Path | None, command: str, log: Log = print
) -> dict[str, Any]:
    """Choose, audit and improve a plan; `PlanFile`. `out`: where the plan is written besides.
    BitlensError for a measure that was not measured, benchmarks that the run did not ask, a budget
    that is too small, and what cannot be audited."""
    run = read_run(folder)
    measured = run.about["asked"]["measures"]
    if request.protect not in measured:
        raise InputError(
            f"{folder} did not measure {request.protect}.",
            f"one of {', '.join(measured)}.",
            nearest(request.protect, measured)
            or f"bitlens sensitivity again, with --measure {request.protect}.",
        )
    study = study_of_written(
        run.about["settings"],
        trust_remote_code=request.trust_remote_code,
        where=str(folder),
    )
    if (request.protect == BENCHMARK) != bool(request.benchmarks):
        raise InputError(
            "Of --protect benchmark and --benchmarks one is given."
            if request.benchmarks
            else "--protect benchmark does not say which.",
            "both, with the benchmarks that the run asked, or neither.",
            "--protect benchmark --benchmarks NAME=FILE",
        )
    asked = {name: getattr(request, name) for name in ("benchmarks", "limit", "include_path")}
    study = study.model_copy(update=asked)
    if request.benchmarks:
        _refuse_others(run, BenchRequest.of(study))
    return _Planning(run, study, request, command, log).result(out)


class _Planning:
    """A plan on its way."""

    def __init__(
        self, run: Sensitivity, study: Study, request: PlanRequest, command: str, log: Log
    ) -> None:
        self.run, self.request, self.command, self.log = run, request, command, log
        self.measure = MEASURES[request.protect]
        self.candidates = Candidates(run, request.protect, request.formats)
        self.study = study
        self.home = inside(inside(run.root, PLANS), request.name)
        self.seed = self.study.seeds[0]
        self._read: dict[str, Value] = {}
        """By compression, what it does."""
        self._audited: tuple[str, ...] = ()
        """Every compression that stands in the store of audits: a stopped or finished run of the
        same plan may have left more than this one asks for."""

    def result(self, out: Path | None) -> dict[str, Any]:
        """Everything, written and told."""
        budget = self.request.budget
        own = _distinct(self.candidates.own(budget))
        rivals = list(self.candidates.rivals(budget, self.seed))
        first = own[0]
        self.log(
            f"A plan of {self.candidates.size(first.choice):.3g} bits a weight promises "
            f"{self.measure.name} {first.choice.effect:.3g}; audited beside "
            f"{len(own) + len(rivals) - 1} others."
        )
        self._audit([*own, *rivals])
        ends = [self._improved(start) for start in self._starts(own, rivals)]
        best, start, _ = min(ends, key=lambda end: self._does(end[0]))
        tried = [row for _, _, rows in ends for row in rows]
        content = self._content(best, start, [*own, *rivals], tried)
        write_measured(self.home, content)
        for fragment in content["fragments"]:
            folder = inside(inside(self.home, FRAGMENTS), sanitise(fragment["tool"]))
            write(inside(folder, fragment["file"]), fragment["text"].encode())
        yaml = self._as_file(best.choice)
        for path in (inside(self.home, "plan.yaml"), out):
            if path is not None:
                write_plan(yaml, path)
        return read_measured(self.home)

    def _starts(self, own: Sequence[Proposed], rivals: Sequence[Proposed]) -> list[Proposed]:
        """What is improved by swaps: of the plans of measured effects the one that does least, and
        the best of all others that fit, unless it surely does more."""
        room = self.candidates.bits(self.request.budget)
        first = min(own, key=self._does)
        fitting = [one for one in rivals if one.choice.bits <= room]
        other = min(fitting, key=self._does, default=first)
        if other.compression in {one.compression for one in own}:
            return [first]
        return [first] if surely_less(self._more(first, other)) else [first, other]

    def _does(self, one: Proposed) -> float:
        """What it was measured to do; one without a value is no better than any."""
        value = self._read[one.compression].value
        return float("inf") if value is None else value

    def _improved(self, start: Proposed) -> tuple[Proposed, Proposed, list[dict[str, Any]]]:
        """A plan after all swaps that won, itself, and every swap that was tried."""
        best, tried = start, []
        units = self.candidates.scaled
        room = self.candidates.bits(self.request.budget)
        for number in range(1, ROUNDS + 1):
            found = swaps(units, best.choice, room, limit=TRIED)
            after = [self._after(best.choice, swap, number) for swap in found]
            self._audit(after)
            rows = [
                {
                    "start": start.name,
                    "round": number,
                    **{
                        name: getattr(swap, name)
                        for name in ("raised", "raised_to", "lowered", "lowered_to")
                    },
                    "more": self._more(one, best),
                    "taken": False,
                }
                for swap, one in zip(found, after, strict=True)
            ]
            tried += rows
            won = [n for n, row in enumerate(rows) if surely_less(row["more"])]
            if not won:
                break
            place = min(won, key=lambda n: rows[n]["more"]["value"])
            rows[place]["taken"] = True
            best = after[place]
        return best, start, tried

    def _after(self, choice: Choice, swap: Swap, number: int) -> Proposed:
        made = swapped(self.candidates.scaled, choice, swap)
        name = f"swap {number}: {swap.raised} up, {swap.lowered} down"
        return self.candidates.proposed(name, made, made.effect)

    def _audit(self, proposed: Sequence[Proposed]) -> None:
        """What these do, all in one sweep; what is known already is not swept again."""
        folder = inside(self.home, AUDIT)
        if not self._audited and Store(folder).finished:
            self._audited = tuple(Store(folder).manifest()["settings"]["compressions"])
        wanted = [one.compression for one in proposed]
        texts = tuple(dict.fromkeys([*self._audited, *wanted]))
        if not wanted:
            return
        self._audited = texts
        analyses = analyses_of(self.run.about["asked"]["measures"])
        study = self.study.model_copy(
            update={"compressions": texts, "controls": (), "analyses": analyses}
        )
        store = audit(study, folder, self.command, self.log)
        self._read |= dict(_values(self.measure, store, texts))

    def _more(self, one: Proposed, than: Proposed) -> dict[str, Any]:
        pair = (self._read[one.compression], self._read[than.compression], self.measure.metric)
        (found,) = contrasts([pair], method=self.study.interval)
        told = asdict(found)
        return {
            "value": told["difference"],
            **{name: told[name] for name in ("low", "high", "documents", "reason")},
        }

    def _content(
        self,
        best: Proposed,
        start: Proposed,
        others: Sequence[Proposed],
        tried: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        rows = []
        for one in (replace(best, name=PLAN), *others):
            value = self._read[one.compression]
            sure = asdict(interval(value, self.measure.metric, self.study.interval))
            rows.append(
                {
                    "name": one.name,
                    "compression": one.compression,
                    "bits": self.candidates.size(one.choice),
                    "promised": one.promised,
                    "measured": sure,
                    "more": None if one.name == PLAN else self._more(one, best),
                }
            )
        store = Store.open(inside(self.home, AUDIT))
        (corpus,) = store.manifest()["corpora"]
        asked = BenchRequest.of(self.study).names
        same = corpus["token_hash"] == self.run.about["on"]["token_hash"]
        chosen = [SAME_BENCHMARKS] if asked else [SAME_TEXT] * same
        return {
            "tool": {"version": version("bitlens")},
            "key": self.run.about["key"],
            "model": self.run.about["model"]["name"],
            "measure": self.measure.name,
            "budget": self.request.budget,
            "text": ", ".join(asked) or corpus["name"],
            "documents": self._read[best.compression].documents if asked else corpus["documents"],
            "units": [
                {
                    "unit": name,
                    "format": text,
                    "bits": self.candidates.bits_of(name, text),
                    "weights": self.candidates.weights_of(name),
                }
                for name, text in best.choice.formats.items()
            ],
            "start": start.name,
            "candidates": rows,
            "swaps": list(tried),
            "fragments": self._fragments(best.choice),
            "notes": [*chosen, *_of_units_that_left(self.run)],
        }

    def _fragments(self, choice: Choice) -> list[dict[str, Any]]:
        conv1d = self.run.about["model"]["conv1d"]
        return [asdict(one) for one in fragments(self._as_file(choice).formats, conv1d=conv1d)]

    def _as_file(self, choice: Choice) -> FormatPlan:
        matrices = self.candidates.matrices()
        formats = dict.fromkeys(matrices, "keep") | dict(choice.formats)
        return FormatPlan(
            model=self.run.about["model"]["name"],
            run=self.run.root.resolve().name,
            measure=self.measure.name,
            budget=self.request.budget,
            bits=self.candidates.size(choice),
            effect=choice.effect,
            units={
                name: PlannedUnit(format=formats[name], matrices=of)
                for name, of in matrices.items()
            },
        )


def _refuse_others(run: Sensitivity, asked: BenchRequest) -> None:
    """InputError for other benchmarks, or another number of questions, than those of a run. By
    name: its effects say nothing of what others would show beside them."""
    written = run.about["settings"]
    before = BenchRequest(
        benchmarks=tuple(written.get("benchmarks", ())), limit=written.get("limit")
    )
    of_run, of_plan = (
        f"{', '.join(sorted(one.names))} (--limit {'none' if one.limit is None else one.limit})"
        for one in (before, asked)
    )
    if of_run != of_plan:
        raise InputError(
            f"The plan asks {of_plan}, and {run.root} asked {of_run}.",
            "the benchmarks that the run asked, and as many of their questions.",
            "the same --benchmarks and --limit as bitlens sensitivity had.",
        )


def _of_units_that_left(run: Sensitivity) -> list[str]:
    """What is to be said of a plan from a run with `--top`; nothing where no unit left early."""
    left = sum(len(stage["left"]) for stage in run.about["stages"])
    if not left:
        return []
    return [
        f"{count(left, 'effect')} of units that left early (--top) are of the first documents "
        "alone, and lean low: what plans promise is no sum of effects on the same documents. What "
        "they do was measured on all."
    ]


def _values(
    measure: DamageMeasure, store: Store, texts: Sequence[str]
) -> Iterator[tuple[str, Value]]:
    """A measure of every twin, over its items."""
    if measure.analysis == ANSWERS:
        from bitlens.workflows.sensitivity.answers import stored_drops

        yield from stored_drops(inside(store.root, FOLDER), texts).items()
        return
    cells = {
        cell["compression"]: cell
        for cell in store.manifest()["cells"]
        if cell["analysis"] == measure.analysis
    }
    for text in texts:
        cell = cells[text]
        if cell["status"] != "done":
            raise failed(text, cell["reason"])
        values = store.read_cell(cell["id"])[1]
        read: Read = {(v.metric, v.site, v.item): v for v in values}
        yield text, over_items(list(measure.read(read, {}).values()))


def _distinct(proposed: Iterable[Proposed]) -> list[Proposed]:
    """Each plan once, by the name it had first."""
    found: dict[str, Proposed] = {}
    for one in proposed:
        found.setdefault(one.compression, one)
    return list(found.values())


SAME_BENCHMARKS = (
    "The plan was chosen and audited on benchmarks of the same names, which flatters it a little "
    "where their questions are the same; whether files were changed in between was not looked at. "
    "Audit it on other questions before it is shipped."
)
SAME_TEXT = (
    "The plan was chosen and audited on the same texts, which flatters it a little: the "
    "choice is among a few formats a unit and a few plans, not fitted to single tokens. Audit it "
    "on another text before it is shipped."
)
