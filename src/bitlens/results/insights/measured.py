"""Every feature that a store knows of, SAE by SAE and twin by twin."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from bitlens.results.columns import is_number, numbers, present, texts
from bitlens.results.store import Store

Columns = dict[str, np.ndarray]
"""A table's columns; what is absent from a column of numbers is NaN."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TwinFeatures:
    """One twin's features of one SAE at one seed."""

    compression: str
    seed: int
    like: str | None
    """The compression that a noise control is matched to; None for others."""
    control: bool
    features: Columns
    """The table `features`: those of the reference, by latent."""
    halves: Columns
    """The table `halves`: the same features; empty where the run had none."""

    @property
    def name(self) -> str:
        """As it stands in a table: the seed where it is not the first."""
        return self.compression + (f", seed {self.seed}" if self.seed else "")


@dataclass(frozen=True, eq=False)
class SaeFeatures:
    """All twins of one model that were read through one SAE."""

    model: str
    sae: str
    site: str
    twins: tuple[TwinFeatures, ...]

    @property
    def name(self) -> str:
        """`late (resid.2)`."""
        return self.sae if self.sae == self.site else f"{self.sae} ({self.site})"


def measured(store: Store, model: str | None = None) -> list[SaeFeatures]:
    """Every SAE of every model, or of one, with the twins in the manifest's order.

    Read once: tables of features are the largest of a store.
    """
    manifest = store.manifest()
    records = {(twin["model"], twin["compression"]): twin for twin in manifest["twins"]}
    found: dict[tuple[str, str, str], list[TwinFeatures]] = {}
    for cell in manifest["cells"]:
        if cell["analysis"] != "features" or cell["status"] != "done":
            continue
        if model is not None and cell["model"] != model:
            continue
        record = records[(cell["model"], cell["compression"])]
        if record["control"] and manifest["settings"].get("controls_on"):
            continue  # its features are those of other documents
        for sae, site, features, halves in _tables(store, cell["id"]):
            twin = TwinFeatures(
                compression=cell["compression"],
                seed=cell["seed"],
                like=record["like"],
                control=record["control"],
                features=features,
                halves=halves,
            )
            found.setdefault((cell["model"], sae, site), []).append(twin)
    return [SaeFeatures(*place, tuple(twins)) for place, twins in found.items()]


def _tables(store: Store, cell: str) -> Iterator[tuple[str, str, Columns, Columns]]:
    whole = _columns(store, cell, "features")
    halves = _columns(store, cell, "halves")
    if not whole:
        return
    whole = _chosen(whole, whole["state"] != "twin only")
    for place in dict.fromkeys(zip(whole["sae"].tolist(), whole["site"].tolist(), strict=True)):
        yield (*place, _of(whole, place), _of(halves, place))


def _columns(store: Store, cell: str, name: str) -> Columns:
    table = store.read_cell_table(cell, name)
    if table is None:
        return {}
    return {n: _column(table[n].combine_chunks()) for n in table.column_names}


def _column(values: pa.Array) -> np.ndarray:
    if not is_number(values.type):
        known, which = texts(values)
        return np.asarray(np.array([*known, None], object)[which])
    found = numbers(values)
    return np.where(present(values), found, np.nan) if values.null_count else found


def _of(columns: Columns, place: tuple[Any, ...]) -> Columns:
    """The rows of one SAE, by latent."""
    if not columns:
        return {}
    mine = _chosen(columns, (columns["sae"] == place[0]) & (columns["site"] == place[1]))
    return _chosen(mine, np.argsort(mine["latent"], kind="stable"))


def _chosen(columns: Columns, rows: np.ndarray) -> Columns:
    return {name: values[rows] for name, values in columns.items()}
