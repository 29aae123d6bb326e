"""What a tracker is given of finished results: numbers by twin, tables, the files of the run."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from bitlens.report.audit_results import AuditResults, Row

TABLES = ("estimates", "contrasts", "coverage", "categories")
FILES = ("report.html", "summary.md")
_BLOCK = re.compile(r"(resid|attn|mlp|pattern)\.(\d+)")


@dataclass(frozen=True)
class Scalar:
    """A number, and the block it is of where it is of one."""

    name: str
    value: float
    block: int | None = None


@dataclass(frozen=True, kw_only=True)
class LoggedTwin:
    """What is logged of one cell of the grid: a model, a compression or control, and a seed."""

    model: str
    compression: str
    seed: int
    control: bool
    scalars: tuple[Scalar, ...]

    @property
    def name(self) -> str:
        """What its run is called."""
        return f"{self.model} {self.compression}" + (f" seed {self.seed}" if self.seed else "")

    @property
    def settings(self) -> dict[str, Any]:
        """What it is, for a tracker to sort and filter by."""
        return {
            "model": self.model,
            "compression": self.compression,
            "seed": self.seed,
            "control": self.control,
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class Logged:
    """Finished results, as trackers take them."""

    root: Path
    """Their folder."""
    twins: tuple[LoggedTwin, ...]
    tables: Mapping[str, pa.Table]
    """By name, those with rows; flat."""
    settings: Mapping[str, Any]
    """Of the whole."""

    @property
    def name(self) -> str:
        """What the set of results is called."""
        return self.root.resolve().name

    @property
    def files(self) -> list[Path]:
        """The page and the summary, where they were written."""
        return [self.root / name for name in FILES if (self.root / name).is_file()]


def logged_audit(root: Path) -> Logged:
    """The results of an audit or a study. BitlensError for a folder without complete ones."""
    results = AuditResults.read(root)
    found = {name: results.store.read_table(name) for name in TABLES}
    return Logged(
        root=root,
        twins=tuple(logged_twins(results)),
        tables={name: table for name, table in found.items() if table.num_rows},
        settings=results.store.manifest()["settings"],
    )


def logged_twins(results: AuditResults) -> Iterator[LoggedTwin]:
    """Every twin, control and compute floor with the numbers that it has, one for each seed.

    Numbers of single heads are left out: there are thousands, and the tables hold them. A number
    that does not exist is not logged.
    """
    cells: dict[tuple[str, str, int], list[Row]] = {}
    for row in results.estimates:
        cells.setdefault((row["model"], row["compression"], row["seed"]), []).append(row)
    for (model, compression, seed), rows in cells.items():
        record = results.record(model, compression)
        known = [(n, getattr(record, n)) for n in ("bits", "bytes")] if record else []
        sizes = [Scalar(name, float(value)) for name, value in known if value is not None]
        found = [scalar(row) for row in rows if row["value"] is not None and _told(row)]
        yield LoggedTwin(
            model=model,
            compression=compression,
            seed=seed,
            control=record is None or record.control,
            scalars=(*sizes, *found),
        )


def scalar(row: Row) -> Scalar:
    """An estimate by a name that every tracker takes: `behaviour.kl`, and where it is of a block
    `geometry.cosine.resid` with the block apart."""
    at = _BLOCK.fullmatch(row["site"])
    site = at[1] if at else "" if row["site"] in ("logits", "") else row["site"]
    item = "" if row["item"] == "cumulative" else row["item"]
    name = named(row["analysis"], row["metric"], site, item)
    return Scalar(name, float(row["value"]), int(at[2]) if at else None)


def named(*words: str) -> str:
    """A name that every tracker takes, of those words that say something."""
    return re.sub(r"[^A-Za-z0-9_. -]", "_", ".".join(filter(None, words)))


def _told(row: Row) -> bool:
    return not row["item"].startswith("head ")
