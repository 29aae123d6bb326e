"""From the values of complete cells to rows with intervals, and to contrasts with controls.

Everything comes from the store and the manifest (`metrics`: `analysis.metric` to the fields of
a `Metric`; `twins`: the fields of each `TwinRecord` and its `model`; `cells`: `id`, `status` and
what each is of), so that nothing here, or after it, needs torch or the analyses.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bitlens.records import Cell, Metric, TwinRecord, Value
from bitlens.stats.contrasts import contrasts as contrast_pairs
from bitlens.stats.intervals import LEVEL, interval
from bitlens.stats.multiple import false_discovery
from bitlens.stats.percentiles import Method
from bitlens.store import Store

Rows = list[dict[str, Any]]


def estimates(
    store: Store, manifest: Mapping[str, Any], method: Method = "jackknife", level: float = LEVEL
) -> Rows:
    """What is every value, and how sure is it? Rows of `schema.ESTIMATES`, in the manifest's order.

    `method` is how the cells' replicates were made.
    """
    metrics, twins = _metrics(manifest), _twins(manifest)
    rows = []
    for cell, values in _cells(store, manifest):
        bits = {t.compression: t.bits for t in twins.get(cell.model, [])}.get(cell.compression)
        for value in values:
            metric = metrics[f"{cell.analysis}.{value.metric}"]
            rows.append(
                {
                    "model": cell.model,
                    "compression": cell.compression,
                    "bits": bits,
                    "analysis": cell.analysis,
                    "metric": value.metric,
                    "site": value.site,
                    "item": value.item,
                    **asdict(interval(value, metric, method, level)),
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
    """How far is every twin from its controls? Rows of `schema.CONTRASTS`, in the manifest's order.

    q is the false discovery rate over all rows of one metric with one kind of control. Levels,
    which describe a model and not a change, are left out.
    """
    metrics, twins = _metrics(manifest), _twins(manifest)
    complete = {
        tuple(entry[name] for name in ("model", "compression", "analysis", "seed")): entry["id"]
        for entry in manifest["cells"]
        if entry["status"] == "done"
    }
    rows: Rows = []
    # Two cells at a time: with their replicates, those of a whole study would not fit.
    for (model, compression, analysis, seed), cell_id in complete.items():
        controls = controls_of(compression, twins.get(model, []))
        ids = {name: complete.get((model, name, analysis, seed)) for name in controls}
        for control, control_id in ids.items():
            if control_id is None:
                continue
            pairs: list[tuple[Value, Value, Metric]] = []
            found: Rows = []
            theirs = {
                (value.metric, value.site, value.item): value
                for value in store.read_cell(control_id)[1]
            }
            for value in store.read_cell(cell_id)[1]:
                metric = metrics[f"{analysis}.{value.metric}"]
                other = theirs.get((value.metric, value.site, value.item))
                if other is None or metric.level:
                    continue
                pairs.append((value, other, metric))
                found.append(
                    {
                        "model": model,
                        "compression": compression,
                        "control": control,
                        "analysis": analysis,
                        "metric": value.metric,
                        "site": value.site,
                        "item": value.item,
                        "seed": seed,
                    }
                )
            contrasted = contrast_pairs(pairs, method=method, level=level)
            rows += [row | asdict(of) for row, of in zip(found, contrasted, strict=True)]
    families: dict[tuple[str, ...], Rows] = {}
    for row in rows:
        kind = row["control"].partition(":")[0]
        families.setdefault((row["analysis"], row["metric"], kind), []).append(row)
    for family in families.values():
        for row, q in zip(family, false_discovery([row["p"] for row in family]), strict=True):
            row["q"] = q
    return rows


def controls_of(compression: str, twins: Sequence[TwinRecord]) -> list[str]:
    """What is this twin to be compared with? The noise that is like it, and the first cast.

    Nothing for a control itself; a control that did not come through is left out.
    """
    controls = [t for t in twins if t.control and not t.floor and t.status == "done"]
    if any(twin.compression == compression and twin.control for twin in twins):
        return []
    noise = [twin.compression for twin in controls if twin.like == compression]
    casts = [twin.compression for twin in controls if twin.compression.split(":")[0] == "cast"]
    return [*noise[:1], *casts[:1]]


def _metrics(manifest: Mapping[str, Any]) -> dict[str, Metric]:
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
