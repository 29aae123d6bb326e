"""The results of an audit as the page reads them: every question that sections ask of a store."""

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from bitlens.errors import visible
from bitlens.report.text.few import sayable, sayable_detail
from bitlens.results.columns import is_number, numbers, present, texts
from bitlens.results.records import Check, Metric, TwinRecord
from bitlens.results.store import Store
from bitlens.results.table_schema import TABLES

if TYPE_CHECKING:
    from bitlens.report.status import Rules

Row = dict[str, Any]
T = TypeVar("T")


def _documents(rows: list[Row]) -> dict[tuple[str, ...], int]:
    """How many documents an analysis read, by model, compression and analysis."""
    found: dict[tuple[str, ...], int] = {}
    for row in rows:
        of = (row["model"], row["compression"], row["analysis"])
        found[of] = max(found.get(of, 0), row["documents"])
    return found


def _rows(table: pa.Table | None) -> list[Row]:
    """A table by rows, its texts made visible; no rows of no table."""
    if table is None:
        return []
    columns = [_values(column) for column in table.columns]
    names = table.column_names
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    """A column's values. Numbers hold nothing to hide, and of texts, of which there are few
    different ones, each is looked at once."""
    rows = column.combine_chunks()
    if not pa.types.is_list(rows.type) or rows.null_count:
        return _leaves(rows)
    found = _leaves(rows.flatten())
    ends = (numbers(rows.offsets) - numbers(rows.offsets)[0]).tolist()
    return [found[begin:end] for begin, end in pairwise(ends)]


def _leaves(values: pa.Array) -> list[Any]:
    if pa.types.is_string(values.type):
        known, which = texts(values)
        said = [*visible(known), None]
        return [said[code] for code in which.tolist()]
    if not is_number(values.type):
        return list(visible(values.to_pylist()))
    found: list[Any] = numbers(values).tolist()
    for place in np.flatnonzero(~present(values)).tolist():
        found[place] = None
    return found


def _grouped(estimates: list[Row], *keys: str) -> dict[tuple[str, ...], list[Row]]:
    """By the full name of their metric, and these."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in estimates:
        name = f"{row['analysis']}.{row['metric']}"
        found.setdefault((name, *(row[key] for key in keys)), []).append(row)
    return found


@dataclass(frozen=True, kw_only=True)
class AuditResults:
    """The store as read: a manifest, how the run went, and three tables of rows."""

    manifest: dict[str, Any]
    run: dict[str, Any]
    estimates: list[Row]
    contrasts: list[Row]
    coverage: list[Row]
    store: Store
    rules: "Rules | None" = None
    """What gives twins their words; None: the rules that come with bitlens."""

    @classmethod
    def read(cls, path: Path, rules: "Rules | None" = None) -> "AuditResults":
        """Read a complete store. BitlensError where there is none, or one of another version."""
        store = Store.open(path)
        estimates, contrasts, coverage = (_rows(store.read_table(name)) for name in TABLES)
        estimates, contrasts = (list(map(sayable, rows)) for rows in (estimates, contrasts))
        return cls(
            manifest=visible(store.manifest()),
            run=visible(store.run()),
            estimates=estimates,
            contrasts=contrasts,
            coverage=coverage,
            store=store,
            rules=rules,
        )

    @property
    def models(self) -> list[str]:
        """The models audited, in the order they were named."""
        return [model["name"] for model in self.manifest["models"]]

    def named(self, model: str) -> str:
        """What the store itself calls a model, whose name here has nothing invisible in it."""
        name: str = self.store.manifest()["models"][self.models.index(model)]["name"]
        return name

    def about(self, model: str) -> dict[str, Any]:
        """What the manifest says of a model: blocks, heads, width, parameters, bytes, ..."""
        found: dict[str, Any] = next(m for m in self.manifest["models"] if m["name"] == model)
        return found

    def prefix(self, model: str) -> str:
        """What file names and anchors of a model begin with: nothing where it is the only one."""
        if len(self.models) == 1:
            return ""
        letters = re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-")[:40]
        return f"{self.models.index(model) + 1}-{letters}-"

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """What each number means, by its full name `analysis.metric`."""
        return {name: Metric(**fields) for name, fields in self.manifest["metrics"].items()}

    @cached_property
    def checks(self) -> list[Check]:
        """The checks the run made on itself."""
        return [Check(**check) for check in self.manifest["checks"]]

    @cached_property
    def _twins(self) -> dict[str, list[TwinRecord]]:
        found: dict[str, list[TwinRecord]] = {model: [] for model in self.models}
        for fields in self.manifest["twins"]:
            found[fields["model"]].append(
                TwinRecord(**{key: value for key, value in fields.items() if key != "model"})
            )
        return found

    def twins(self, model: str) -> list[TwinRecord]:
        """The compressions that were asked for, failed ones too, without the controls."""
        return [twin for twin in self._twins[model] if not twin.control]

    def measured(self, model: str) -> list[TwinRecord]:
        """The compressions there are numbers for, without the controls."""
        return [twin for twin in self.twins(model) if twin.status == "done"]

    def controls(self, model: str) -> list[TwinRecord]:
        """What exists to be compared with: nothing, a cast, noise."""
        return [
            twin
            for twin in self._twins[model]
            if twin.control and not twin.floor and twin.status == "done"
        ]

    def record(self, model: str, compression: str) -> TwinRecord | None:
        """A twin, a control or a floor that there are numbers for."""
        return next(
            (
                twin
                for twin in self._twins[model]
                if twin.compression == compression and twin.status == "done"
            ),
            None,
        )

    def floors(self, model: str) -> list[TwinRecord]:
        """The reference computed in other dtypes, on some of the documents."""
        return [twin for twin in self._twins[model] if twin.floor and twin.status == "done"]

    def calibrated(self, model: str, compression: str) -> bool:
        """Did documents decide how this twin was made?"""
        return any(t.calibrated for t in self._twins[model] if t.compression == compression)

    def noise(self, model: str, compression: str) -> str | None:
        """The weight noise of the same size as this compression's error, if it was run."""
        return next(
            (twin.compression for twin in self.controls(model) if twin.like == compression), None
        )

    def cast(self, model: str) -> str | None:
        """The cast to 16 bits that is compared with, if it was run."""
        return next(
            (t.compression for t in self.controls(model) if t.compression.startswith("cast")), None
        )

    @cached_property
    def categories(self) -> list[Row]:
        """What was measured of each category of the texts, beside all others together; nothing
        where no categories were named."""
        return list(map(sayable, _rows(self.store.read_table("categories"))))

    @cached_property
    def _by_place(self) -> dict[tuple[str, ...], list[Row]]:
        return _grouped(self.estimates, "model", "compression", "site", "item")

    def seeds(
        self, model: str, compression: str, metric: str, site: str = "logits", item: str = ""
    ) -> list[Row]:
        """The estimates of one number, one a seed, the first seed first."""
        rows = self._by_place.get((metric, model, compression, site, item), [])
        return sorted(rows, key=lambda row: row["seed"])

    def find(
        self, model: str, compression: str, metric: str, site: str = "logits", item: str = ""
    ) -> Row | None:
        """The estimate of one number at the first seed, if it has a value."""
        rows = self.seeds(model, compression, metric, site=site, item=item)
        return rows[0] if rows and rows[0]["value"] is not None else None

    def everywhere(self, model: str, compression: str, metric: str) -> list[Row]:
        """The estimates of one number at every site and item where it has a value, at the first
        seed."""
        rows = self._by_metric.get((metric, model, compression), [])
        first = min((row["seed"] for row in rows), default=0)
        return [row for row in rows if row["seed"] == first and row["value"] is not None]

    @cached_property
    def _by_metric(self) -> dict[tuple[str, ...], list[Row]]:
        return _grouped(self.estimates, "model", "compression")

    def depth(
        self, model: str, compression: str, metric: str, kind: str, item: str
    ) -> list[tuple[int, Row]]:
        """(block, estimate) at the first seed for the sites `kind.0`, `kind.1`, ..."""
        blocks = self.about(model)["blocks"]
        found = (
            (block, self.find(model, compression, metric, site=f"{kind}.{block}", item=item))
            for block in range(blocks)
        )
        return [(block, row) for block, row in found if row is not None]

    def table(self, model: str, compression: str, analysis: str, name: str) -> list[Row]:
        """The rows of what else an analysis shows, at the first seed; maybe none."""
        place = (model, compression, analysis, name)
        if place not in self._tables:
            self._tables[place] = self._read_table(*place)
        return self._tables[place]

    @cached_property
    def _tables(self) -> dict[tuple[str, ...], list[Row]]:
        return {}

    def _read_table(self, model: str, compression: str, analysis: str, name: str) -> list[Row]:
        wanted = (model, compression, analysis, "done")
        cells = [
            cell
            for cell in self.manifest["cells"]
            if tuple(cell[k] for k in ("model", "compression", "analysis", "status")) == wanted
        ]
        first = min(cells, key=lambda cell: cell["seed"], default=None)
        found = self.store.read_cell_table(first["id"], name) if first else None
        documents = once(self, "documents", lambda: _documents(self.estimates))
        return sayable_detail(_rows(found), documents.get(wanted[:3], 0))

    @cached_property
    def _contrasts(self) -> dict[tuple[str, ...], Row]:
        keys = ("model", "compression", "control", "analysis", "metric", "site", "item")
        rows = sorted(self.contrasts, key=lambda row: row["seed"], reverse=True)
        return {tuple(row[key] for key in keys): row for row in rows}

    def contrast(self, row: Row, control: str | None) -> Row | None:
        """How far an estimate is from the same number of a control, if that was tested."""
        keys = ("analysis", "metric", "site", "item")
        place = (row["model"], row["compression"], control or "", *(row[key] for key in keys))
        return self._contrasts.get(place)

    def failures(self) -> list[Row]:
        """The cells of the study without a result, each with its reason."""
        return [cell for cell in self.manifest["cells"] if cell["status"] == "failed"]


def once(results: AuditResults, name: Hashable, make: Callable[[], T]) -> T:
    """What is worked out of results under a name: the first time only."""
    made: dict[Hashable, Any] = vars(results).setdefault("_made", {})
    if name not in made:
        made[name] = make()
    found: T = made[name]
    return found
