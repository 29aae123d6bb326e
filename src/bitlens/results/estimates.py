"""From the values of complete cells to rows with intervals, and to contrasts with controls.

Everything comes from the store and the manifest (`metrics`: `analysis.metric` to the fields of
a `Metric`; `twins`: the fields of each `TwinRecord` and its `model`; `cells`: `id`, `status` and
what each is of), so that nothing here, or after it, needs torch or the analyses.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from bitlens.results.records import REFERENCE, Cell, Metric, TwinRecord, Value
from bitlens.results.stats.any_stop import level_at_any_stop
from bitlens.results.stats.contrasts import contrasts as contrast_pairs
from bitlens.results.stats.intervals import LEVEL, interval
from bitlens.results.stats.multiple import false_discovery
from bitlens.results.stats.percentiles import Method
from bitlens.results.stats.scales import to_scale
from bitlens.results.store import Store

Rows = list[dict[str, Any]]


def estimates(
    store: Store, manifest: Mapping[str, Any], method: Method = "jackknife", level: float = LEVEL
) -> Rows:
    """Every value and how sure it is: rows of `table_schema.ESTIMATES`, in the manifest's order.

    `method` is how the cells' replicates were made.
    """
    metrics, twins = metrics_of(manifest), _twins(manifest)
    rows = []
    for cell, values in _cells(store, manifest):
        stopped = "until" in cell.settings
        bits = {t.compression: t.bits for t in twins.get(cell.model, [])}.get(cell.compression)
        for value in values:
            metric = metrics[f"{cell.analysis}.{value.metric}"]
            sure = level_at_any_stop(value.documents, level) if stopped else level
            rows.append(
                {
                    "model": cell.model,
                    "compression": cell.compression,
                    "bits": bits,
                    "analysis": cell.analysis,
                    "metric": value.metric,
                    "site": value.site,
                    "item": value.item,
                    **asdict(interval(value, metric, method, sure)),
                    "intact": metric.intact,
                    "chance": value.chance,
                    "worse": metric.worse,
                    "seed": cell.seed,
                }
            )
    return rows


def contrasts(
    store: Store, manifest: Mapping[str, Any], method: Method = "jackknife", level: float = LEVEL
) -> Rows:
    """How far every twin is from its controls and the reference: rows of `table_schema.CONTRASTS`,
    in the manifest's order.

    q is the false discovery rate over all rows of one metric with one kind of control. Levels,
    which describe a model and not a change, are left out. The reference is at the intact value:
    only of metrics of which a twin may be on either side of it is there something to test. Where
    controls were measured on fewer documents, the twin's numbers beside them are of these.
    """
    metrics, twins = metrics_of(manifest), _twins(manifest)
    complete = {
        tuple(entry[name] for name in ("model", "compression", "analysis", "seed")): entry
        for entry in manifest["cells"]
        if entry["status"] == "done"
    }
    rows: Rows = []
    # Two cells at a time: with their replicates, those of a whole study would not fit.
    for (model, compression, analysis, seed), entry in complete.items():
        controls = controls_of(compression, twins.get(model, []))
        found = {name: complete.get((model, name, analysis, seed)) for name in controls}
        for control, beside in found.items():
            if beside is None and control != REFERENCE:
                continue
            paired = entry.get("paired") if beside else None
            cell, values = store.read_cell(paired or entry["id"])
            others = store.read_cell(beside["id"])[1] if beside else None
            pairs = _pairs(
                values, others, {v.metric: metrics[f"{analysis}.{v.metric}"] for v in values}
            )
            contrasted = contrast_pairs(
                pairs, method=method, level=level, stopped="until" in cell.settings
            )
            rows += [
                _row(cell, control, value) | asdict(of)
                for (value, _, _), of in zip(pairs, contrasted, strict=True)
            ]
    _add_q(rows)
    return rows


def _pairs(
    values: list[Value], others: list[Value] | None, metrics: Mapping[str, Metric]
) -> list[tuple[Value, Value, Metric]]:
    """Every number that has one of the control beside it, levels left out; `others`: the control's,
    None where it is the reference."""
    theirs = {(value.metric, value.site, value.item): value for value in others or []}
    found = []
    for value in values:
        metric = metrics[value.metric]
        at = (value.metric, value.site, value.item)
        other = _intact(value, metric) if others is None else theirs.get(at)
        if other is not None and not metric.level:
            found.append((value, other, metric))
    return found


def _row(cell: Cell, control: str, value: Value) -> dict[str, Any]:
    """What a contrast is of."""
    return {
        "model": cell.model,
        "compression": cell.compression,
        "control": control,
        "analysis": cell.analysis,
        "metric": value.metric,
        "site": value.site,
        "item": value.item,
        "seed": cell.seed,
    }


def _add_q(rows: Rows) -> None:
    """The false discovery rate over all rows of one metric with one kind of control."""
    families: dict[tuple[str, ...], Rows] = {}
    for row in rows:
        kind = row["control"].partition(":")[0]
        families.setdefault((row["analysis"], row["metric"], kind), []).append(row)
    for family in families.values():
        for row, q in zip(family, false_discovery([row["p"] for row in family]), strict=True):
            row["q"] = q


def _intact(value: Value, metric: Metric) -> Value | None:
    """The number of the reference, which is intact whichever documents are left out. None where a
    twin can be on one side of it alone, so that to differ is no finding, and where nothing can be
    tested."""
    intact = metric.intact
    if intact is None or not metric.interval or to_scale(np.array([intact]), metric.scale) is None:
        return None
    return replace(value, value=intact, replicates=(intact,) * len(value.replicates), reason=None)


def controls_of(compression: str, twins: Sequence[TwinRecord]) -> list[str]:
    """What is this twin to be compared with? The noise like it, the first cast, the reference.

    Nothing for a control itself; a control that did not come through is left out.
    """
    controls = [t for t in twins if t.control and not t.floor and t.status == "done"]
    if any(twin.compression == compression and twin.control for twin in twins):
        return []
    noise = [twin.compression for twin in controls if twin.like == compression]
    casts = [twin.compression for twin in controls if twin.compression.split(":")[0] == "cast"]
    return [*noise[:1], *casts[:1], REFERENCE]


def metrics_of(manifest: Mapping[str, Any]) -> dict[str, Metric]:
    """What each number means, by its full name `analysis.metric`."""
    return {name: Metric(**fields) for name, fields in manifest["metrics"].items()}


def _twins(manifest: Mapping[str, Any]) -> dict[str, list[TwinRecord]]:
    found: dict[str, list[TwinRecord]] = {}
    for fields in manifest["twins"]:
        record = {name: value for name, value in fields.items() if name != "model"}
        found.setdefault(fields["model"], []).append(TwinRecord(**record))
    return found


def _cells(store: Store, manifest: Mapping[str, Any]) -> Iterator[tuple[Cell, list[Value]]]:
    for entry in manifest["cells"]:
        if entry["status"] == "done":
            yield store.read_cell(entry["id"])
