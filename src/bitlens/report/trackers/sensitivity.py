"""What a tracker is given of a sensitivity run: what every unit does, a curve over depth a kind."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from bitlens.report.trackers.entries import Logged, LoggedTwin, Scalar, named
from bitlens.results.sensitivity.folder import Sensitivity
from bitlens.results.sensitivity.records import TABLES, Unit

_LONG = "replicates"
"""What is no number of a cell."""


def logged_sensitivity(found: Sensitivity) -> Logged:
    """Every compression with the effects of its units; effects, sizes and scores as tables."""
    rows: dict[str, Sequence[Any]] = {
        "effects": found.effects,
        "sizes": found.sizes,
        "proxies": found.proxies,
    }
    tables = {
        name: pa.Table.from_pylist([asdict(row) for row in of], schema=TABLES[name][1])
        for name, of in rows.items()
        if of
    }
    return Logged(
        root=found.root,
        twins=tuple(
            LoggedTwin(
                model=found.about["model"]["name"],
                compression=compression,
                seed=0,
                control=False,
                scalars=tuple(_scalars(found, compression)),
            )
            for compression in found.about["asked"]["compressions"]
        ),
        tables={
            name: table.drop_columns(_LONG) if _LONG in table.column_names else table
            for name, table in tables.items()
        },
        settings=found.about["settings"],
    )


def _scalars(found: Sensitivity, compression: str) -> Iterator[Scalar]:
    units = {unit.name: unit for unit in found.units}
    for effect in found.effects:
        if effect.compression == compression and effect.value is not None:
            words = (effect.way, effect.measure, effect.item)
            yield _of_unit(units.get(effect.unit), words, effect.value)
    for score in found.proxies:
        if score.compression == compression:
            yield _of_unit(units[score.unit], ("score", score.proxy), score.value)


def _of_unit(unit: Unit | None, words: tuple[str, ...], value: float) -> Scalar:
    """A number of a unit; None: of the whole."""
    kind = "" if unit is None or unit.kind == "block" else unit.kind
    return Scalar(named(*words, kind), value, None if unit is None else unit.block)
