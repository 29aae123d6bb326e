"""Twins of several audits against each other: who is whom, who may be paired, and how they differ.

A difference is taken document by document, so two twins are paired only where both read the same
tokens, counted the same positions and left out the same shards. Where they did not, the reason
takes the place of the difference.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import Any

from bitlens.results.records import Cell, Metric, TwinRecord, Value
from bitlens.results.stats.contrasts import contrasts
from bitlens.results.stats.multiple import false_discovery
from bitlens.results.store import Store

Rows = list[dict[str, Any]]
Place = tuple[str, str, str]
"""Metric, site and item of a value."""
SAME = 1e-6
"""Numbers of one cell in two runs that differ by more than this share of them are not the same."""
MOVED = 0.1
"""So far, as a share of the farthest replicate, the reference's replicates may lie apart that two
runs left out the same shards: other arithmetic moves them less, other documents more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparedRun:
    """One of the audits that are compared."""

    name: str
    """What it is called beside the others."""
    store: Store
    manifest: Mapping[str, Any]

    def about(self, model: str) -> dict[str, Any]:
        """What the manifest says of a model."""
        found: dict[str, Any] = next(m for m in self.manifest["models"] if m["name"] == model)
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """A twin that was measured, in one run or, cell for cell the same, in several."""

    model: str
    twin: TwinRecord
    runs: tuple[ComparedRun, ...]
    cells: Mapping[str, tuple[ComparedRun, str]]
    """By analysis, the run that holds its cell, and the cell's id."""
    label: str = ""
    """Its name beside the others."""
    remark: str = ""
    """What is to be known of a twin that several runs hold."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number that every contender may have."""

    analysis: str
    metric: Metric
    site: str
    item: str

    @property
    def place(self) -> Place:
        """Where it stands in a cell."""
        return self.metric.name, self.site, self.item

    @property
    def name(self) -> str:
        """`analysis.metric`."""
        return f"{self.analysis}.{self.metric.name}"


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Two twins that are not paired, and why."""

    first: Contender
    second: Contender
    analysis: str
    reason: str


@dataclass(eq=False)
class Pairings:
    """Every two contenders: what stands between them, or what speaks against it."""

    contenders: Sequence[Contender]
    _read: dict[tuple[str, str], tuple[Cell, dict[Place, Value]]] = field(default_factory=dict)

    def cell(self, of: Contender, analysis: str) -> tuple[Cell, dict[Place, Value]] | None:
        """The cell of a contender and its values; None where the analysis was not run."""
        home = of.cells.get(analysis)
        if home is None:
            return None
        run, cell_id = home
        if (run.name, cell_id) not in self._read:
            cell, values = run.store.read_cell(cell_id)
            by_place = {(value.metric, value.site, value.item): value for value in values}
            self._read[run.name, cell_id] = cell, by_place
        return self._read[run.name, cell_id]

    def apart(self, first: Contender, second: Contender, analysis: str) -> str | None:
        """Why two contenders cannot be paired in an analysis; None where they can."""
        mine, theirs = self.cell(first, analysis), self.cell(second, analysis)
        if mine is None or theirs is None:
            lacking = first if mine is None else second
            return f"{analysis} was not run for {lacking.label}"
        one, other = mine[0], theirs[0]
        if one.settings.get("tokens") != other.settings.get("tokens"):
            return _other_tokens(first, second, analysis, one, other)
        for name, told in (
            ("positions", "positions counted"),
            ("interval", "intervals"),
            ("bitlens", "versions of bitlens"),
        ):
            if one.settings.get(name) != other.settings.get(name):
                return f"{told}: {one.settings.get(name)} and {other.settings.get(name)}"
        if one.settings.get("interval") == "bootstrap" and one.seed != other.seed:
            return f"bootstrap draws of other seeds: {one.seed} and {other.seed}"
        return _other_settings(analysis, one, other) or self._other_shards(first, second)

    def rows(self, measures: Sequence[Measure]) -> Rows:
        """First minus second of every pair and measure: where they stand, then the fields of
        `stats.contrasts.Contrast`, and q, the false discovery rate over all pairs of one metric."""
        found: Rows = []
        for measure in measures:
            for first, second in combinations(self.contenders, 2):
                values = self._pair(first, second, measure)
                if values is None:
                    continue
                cells = [self.cell(one, measure.analysis) for one in (first, second)]
                settings = [cell[0].settings for cell in cells if cell]
                (one,) = contrasts(
                    [(*values, measure.metric)],
                    method=settings[0].get("interval", "jackknife"),
                    stopped=any("until" in of for of in settings),
                )
                place = dict(zip(("metric", "site", "item"), measure.place, strict=True))
                told = {"first": first.label, "second": second.label, "analysis": measure.analysis}
                found.append({**told, **place, **asdict(one)})
        _add_q(found)
        return found

    def refused(self, measures: Sequence[Measure]) -> list[Refused]:
        """Every two contenders that an analysis, which both have, does not pair."""
        return [
            Refused(first=first, second=second, analysis=analysis, reason=reason)
            for analysis in dict.fromkeys(measure.analysis for measure in measures)
            for first, second in combinations(self.contenders, 2)
            if analysis in first.cells and analysis in second.cells
            if (reason := self.apart(first, second, analysis)) is not None
        ]

    def namesakes(self) -> Iterator[str]:
        """Twins of one name in several runs that are not the same, and which settings differ."""
        for first, second in combinations(self.contenders, 2):
            if (first.model, first.twin.compression) != (second.model, second.twin.compression):
                continue
            shared = sorted(first.cells.keys() & second.cells.keys())
            cells = [self.cell(one, shared[0]) for one in (first, second) if shared]
            settings = [cell[0].settings for cell in cells if cell]
            if len(settings) == 2:
                mine, theirs = settings
                other = sorted(
                    k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k)
                )
                named = ", ".join(other) or "the seed"
                pair = f"{first.label} and {second.label}"
                yield f"{pair} are not the same twin: they differ in {named}."

    def _pair(
        self, first: Contender, second: Contender, measure: Measure
    ) -> tuple[Value, Value] | None:
        if self.apart(first, second, measure.analysis) is not None:
            return None
        cells = [self.cell(one, measure.analysis) for one in (first, second)]
        found = [cell[1].get(measure.place) for cell in cells if cell]
        return (found[0], found[1]) if found[0] and found[1] else None

    def _other_shards(self, first: Contender, second: Contender) -> str | None:
        """The same reference leaves the same trace where the same shards were left out."""
        mine, theirs = self.cell(first, "behaviour"), self.cell(second, "behaviour")
        if mine is None or theirs is None:
            return None
        (one, values), (other, others) = mine, theirs
        same = all(one.settings.get(k) == other.settings.get(k) for k in ("weights", "tokens"))
        place = ("perplexity", "logits", "reference")
        traces = [_trace(of[place]) for of in (values, others) if place in of]
        if not same or len(traces) < 2:
            return None
        far = max(map(abs, traces[0]), default=0.0)
        pairs = zip(*traces, strict=False)
        if len(traces[0]) == len(traces[1]) and all(abs(a - b) <= MOVED * far for a, b in pairs):
            return None
        return "their shards hold other documents: the reference itself differs shard by shard"


def contenders(runs: Sequence[ComparedRun]) -> list[Contender]:
    """The twins of all runs that were measured, controls left out, in order; one that several
    runs hold cell for cell stands once."""
    found: list[Contender] = []
    for run in runs:
        for one in _of_run(run):
            place = next((n for n, other in enumerate(found) if _same(other, one)), None)
            if place is None:
                found.append(one)
            else:
                found[place] = _merged(found[place], one)
    return _labelled(found)


def _of_run(run: ComparedRun) -> Iterator[Contender]:
    for fields in run.manifest["twins"]:
        model = fields["model"]
        twin = TwinRecord(**{key: value for key, value in fields.items() if key != "model"})
        if twin.control or twin.floor or twin.status == "failed":
            continue
        cells: dict[str, tuple[ComparedRun, str]] = {}
        for entry in sorted(run.manifest["cells"], key=lambda cell: cell["seed"], reverse=True):
            of = (entry["model"], entry["compression"])
            if of == (model, twin.compression) and entry["status"] == "done":
                cells[entry["analysis"]] = (run, entry["id"])
        if cells:
            yield Contender(model=model, twin=twin, runs=(run,), cells=cells)


def _same(one: Contender, other: Contender) -> bool:
    """Is every cell that both have one and the same?"""
    shared = one.cells.keys() & other.cells.keys()
    return bool(shared) and all(one.cells[name][1] == other.cells[name][1] for name in shared)


def _merged(one: Contender, other: Contender) -> Contender:
    shared = sorted(one.cells.keys() & other.cells.keys())
    moved = [name for name in shared if not _equal(one.cells[name], other.cells[name])]
    runs = (*one.runs, *other.runs)
    told = f"The same twin in {' and '.join(run.name for run in runs)}: shown once."
    if moved:
        told += f" Its numbers of {', '.join(moved)} differ; {one.runs[0].name}'s are shown."
    return replace(one, runs=runs, cells={**other.cells, **one.cells}, remark=told)


def _equal(one: tuple[ComparedRun, str], other: tuple[ComparedRun, str]) -> bool:
    """Do two runs have the same numbers in a cell?"""
    (_, values), (_, others) = (run.store.read_cell(cell_id) for run, cell_id in (one, other))
    return len(values) == len(others) and all(
        (a.value is None) == (b.value is None)
        and abs((a.value or 0.0) - (b.value or 0.0)) <= SAME * max(abs(a.value or 0.0), SAME)
        for a, b in zip(values, others, strict=True)
    )


def _labelled(found: Sequence[Contender]) -> list[Contender]:
    """Each by its compression; by its model too where there are several, by its run where that
    does not tell it from another, by its number where nothing does."""
    many = len({one.model for one in found}) > 1
    plain = [
        f"{one.model} {one.twin.compression}" if many else one.twin.compression for one in found
    ]
    told = [
        f"{name} ({one.runs[0].name})" if plain.count(name) > 1 else name
        for name, one in zip(plain, found, strict=True)
    ]
    return [
        replace(one, label=f"{name} #{n + 1}" if told.count(name) > 1 else name)
        for n, (name, one) in enumerate(zip(told, found, strict=True))
    ]


def _other_tokens(
    first: Contender, second: Contender, analysis: str, one: Cell, other: Cell
) -> str:
    sizes = [of.cells[analysis][0].about(of.model)["vocabulary"] for of in (first, second)]
    hashes = " and ".join(str(cell.settings.get("tokens"))[:8] for cell in (one, other))
    if sizes[0] != sizes[1]:
        return (
            f"other vocabularies, {sizes[0]:,} and {sizes[1]:,} tokens, so other tokens ({hashes})"
        )
    return f"other tokens (hashes {hashes}): other texts, --tokens, --context or tokenizers"


def _other_settings(analysis: str, one: Cell, other: Cell) -> str | None:
    """Of SAEs those count that both have."""
    mine, theirs = (dict(cell.settings.get("analysis") or {}) for cell in (one, other))
    saes, others = (of.pop("saes", None) for of in (mine, theirs))
    if mine != theirs:
        return f"other settings of {analysis}"
    if isinstance(saes, Mapping) and isinstance(others, Mapping):
        if not saes.keys() & others.keys():
            return "no SAE in common"
        changed = [label for label in saes.keys() & others.keys() if saes[label] != others[label]]
        if changed:
            return f"SAEs of other weights under one name: {', '.join(sorted(changed))}"
    return None


def _trace(value: Value) -> list[float]:
    """How far each replicate is from the value."""
    return [replicate - (value.value or 0.0) for replicate in value.replicates]


def _add_q(rows: Rows) -> None:
    families: dict[tuple[str, str], Rows] = {}
    for row in rows:
        families.setdefault((row["analysis"], row["metric"]), []).append(row)
    for family in families.values():
        for row, q in zip(family, false_discovery([row["p"] for row in family]), strict=True):
            row["q"] = q
