"""The folder of a sensitivity run.

    OUT/sensitivity.json    what was run; written last: its presence means the run is complete
    OUT/units.parquet       one row a unit
    OUT/sizes.parquet       one row a unit and compression
    OUT/effects.parquet     one row a unit, compression, way and measure
    OUT/proxies.parquet     one row a unit, compression and proxy
    OUT/partial/            accumulators of waves already swept, until the run is complete

The same content is the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from bitlens.errors import ResultsError
from bitlens.results.files.writing import write
from bitlens.results.json_files import AGAIN, damaged, json_bytes, mended, read_json
from bitlens.results.manifest_schema import Content, Tool, Versioned
from bitlens.results.record_tables import read_records, write_records
from bitlens.results.records import SCHEMA
from bitlens.results.sensitivity.measures import MEASURES
from bitlens.results.sensitivity.records import SQNR, TABLES, Effect, ProxyScore, Unit, UnitSize
from bitlens.results.stats.percentiles import Method

NAME = "sensitivity.json"
PARTIAL = "partial"
REPORT = "report.html"
PLANS = "plans"
"""The folder in which plans that were made of the run are audited."""
LARGEST = 1e30
"""A score beyond is none."""
DECIBELS = 3000.0
"""Nor is an error so far above or below its signal: the ratio would be no number."""


class AskedUnits(Content):
    """What was asked for."""

    compressions: tuple[str, ...]
    units: str
    measures: tuple[str, ...]
    top: int | None = None
    """How many units were sought, so that others could leave early; None: all were measured."""


class UnitThatLeft(Content):
    """A unit that surely mattered less than those sought."""

    compression: str
    unit: str


class StageRead(Content):
    """Documents after which units could leave."""

    documents: int
    """Read by its end."""
    passes: float
    """Forwards of all documents that it took."""
    left: tuple[UnitThatLeft, ...]


class MeasuredOn(Content):
    """What it was measured on."""

    text: str
    token_hash: str
    documents: int
    tokens: int


class Sensitive(Content):
    """The model."""

    name: str
    fingerprint: str
    blocks: int
    dtype: str
    parameters: int
    bits: float
    """Of a weight as it is stored."""
    conv1d: bool = False
    """Whether its matrices are weights of Conv1D modules, as GPT-2's are: some tools take none."""


class SensitivityFile(Versioned):
    """What a run is of."""

    tool: Tool
    command: str
    key: str
    """Of everything that decides about its numbers."""
    settings: dict[str, JsonValue]
    """Of the study: what an audit of a plan goes by."""
    asked: AskedUnits
    model: Sensitive
    on: MeasuredOn
    stages: tuple[StageRead, ...] = ()
    """None: every unit was read on all documents."""
    unstaged: float | None = None
    """Forwards of all documents that it would have taken without stages."""
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Sensitivity:
    """A complete run, as it was written."""

    root: Path
    about: dict[str, Any]
    """`SensitivityFile`."""
    units: Sequence[Unit]
    sizes: Sequence[UnitSize]
    effects: Sequence[Effect]
    proxies: Sequence[ProxyScore]

    @property
    def method(self) -> Method:
        """How the replicates of its effects were made."""
        return "bootstrap" if self.about["settings"].get("interval") == "bootstrap" else "jackknife"

    def bits(self, compression: str) -> dict[str, float]:
        """Bits per weight of every unit under a compression."""
        return {s.unit: s.bits for s in self.sizes if s.compression == compression}

    def of(self, way: str, measure: str, item: str = "") -> dict[tuple[str, str], Effect]:
        """Effects by compression and unit."""
        return {
            (e.compression, e.unit): e
            for e in self.effects
            if (e.way, e.measure, e.item) == (way, measure, item)
        }

    def items(self, measure: str) -> list[str]:
        """What a measure has numbers of: its SAEs, or the one number without a name."""
        return list(dict.fromkeys(e.item for e in self.effects if e.measure == measure))


def finished(root: Path) -> bool:
    """Is there a run that came to its end?"""
    return (root / NAME).is_file()


def write_run(run: Sensitivity) -> None:
    """Write a run; it counts as complete from the last step on."""
    rows: dict[str, Sequence[Any]] = {
        "units": run.units,
        "sizes": run.sizes,
        "effects": run.effects,
        "proxies": run.proxies,
    }
    last = run.root / NAME
    for name, (_, schema) in TABLES.items():
        write_records(run.root, name, rows[name], schema, last)
    write(last, json_bytes(SensitivityFile, {"schema": SCHEMA, **run.about}, last))


def read_run(path: str | Path) -> Sensitivity:
    """A complete run. BitlensError for a folder that holds none, and for one that is damaged."""
    root = Path(path)
    if not finished(root):
        raise ResultsError(
            f"{path} holds no complete sensitivity run.",
            f"a folder with {NAME}, as bitlens sensitivity writes it.",
            f"bitlens sensitivity MODEL --with SPEC --out {path}",
        )
    last = root / NAME
    run = Sensitivity(
        root=root,
        about=read_json(SensitivityFile, last, mended(last, AGAIN)),
        units=read_records(root, "units", Unit, TABLES["units"][1], AGAIN),
        sizes=read_records(root, "sizes", UnitSize, TABLES["sizes"][1], AGAIN),
        effects=read_records(root, "effects", Effect, TABLES["effects"][1], AGAIN),
        proxies=read_records(root, "proxies", ProxyScore, TABLES["proxies"][1], AGAIN),
    )
    if (wrong := _inconsistent(run)) is not None:
        raise damaged(root, wrong, AGAIN)
    return run


def _inconsistent(run: Sensitivity) -> str | None:
    """Why the tables of a run do not belong together; None where they do. They are data that
    somebody sends, and whoever reads them then needs no doubts of its own."""
    asked = run.about["asked"]
    names = {unit.name for unit in run.units}
    if not asked["compressions"] or not asked["measures"] or not names:
        return "it asked for nothing"
    if other := [name for name in asked["measures"] if name not in MEASURES]:
        return f"{other[0]!r} is no measure"
    if any(unit.parameters < 1 for unit in run.units):
        return "a unit has no parameters"
    for e in run.effects:
        if e.measure not in asked["measures"] or e.compression not in asked["compressions"]:
            return f"there is an effect of {e.measure!r} under {e.compression!r}, not asked for"
        if (e.unit not in names) != (e.way == "whole"):
            return f"there is an effect of {e.unit!r}, which is no unit"
    whole = {(e.compression, e.measure, e.item) for e in run.effects if e.way == "whole"}
    if any((e.compression, e.measure, e.item) not in whole for e in run.effects):
        return "an effect has no whole beside it"
    if {(c, m) for c, m, _ in whole} != set(product(asked["compressions"], asked["measures"])):
        return "a compression or a measure has no effects"
    counts = {(e.measure, len(e.replicates)) for e in run.effects if e.value is not None}
    if len({measure for measure, _ in counts}) < len(counts):
        return "effects of one measure have different numbers of replicates"
    most = {SQNR: DECIBELS}
    if any(abs(p.value) > most.get(p.proxy, LARGEST) for p in run.proxies):
        return "a score is beyond all bounds"
    return None
