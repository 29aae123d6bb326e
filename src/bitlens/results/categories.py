"""Categories of the texts: what was measured of each, and whether it differs from all others.

A category against the others is a contrast of documents that are not the same: shards of all
categories are left out together, so a document that is in both at different depths counts once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bitlens.results.estimates import Rows, metrics_of
from bitlens.results.records import FEWEST, TOO_FEW, Cell, Estimate, Metric, Value
from bitlens.results.stats.any_stop import level_at_any_stop
from bitlens.results.stats.contrasts import Contrast
from bitlens.results.stats.contrasts import contrasts as contrast_pairs
from bitlens.results.stats.intervals import LEVEL, interval
from bitlens.results.stats.multiple import false_discovery
from bitlens.results.stats.percentiles import Method
from bitlens.results.store import Store

TABLE = "categories"
_UNTESTED: dict[str, Any] = {"low": None, "high": None, "p": None, "reason": TOO_FEW}


def categories(
    store: Store, manifest: Mapping[str, Any], method: Method = "jackknife", level: float = LEVEL
) -> Rows:
    """Every number of every category beside that of all others: rows of `table_schema.CATEGORIES`,
    in the manifest's order; none where no categories were named.

    `others` is the number of all other categories together, `difference` the category's less
    theirs, in the metric's unit, p from sign flips over the shards' pseudo-values, q the false
    discovery rate over all rows of one metric: of the compressions asked for, and of controls
    apart. Where either side has fewer than FEWEST documents there is no test, and none in q.
    """
    metrics = metrics_of(manifest)
    controls = {
        (twin["model"], twin["compression"]) for twin in manifest["twins"] if twin["control"]
    }
    rows: Rows = []
    for entry in manifest["cells"]:
        table = store.read_cell_table(entry["id"], TABLE) if entry["status"] == "done" else None
        if table is not None:
            cell, _ = store.read_cell(entry["id"])
            rows += _rows(cell, table.to_pylist(), metrics, method, level)
    families: dict[tuple[Any, ...], Rows] = {}
    for row in rows:
        control = (row["model"], row["compression"]) in controls
        families.setdefault((control, row["analysis"], row["metric"]), []).append(row)
    for family in families.values():
        for row, q in zip(family, false_discovery([row["p"] for row in family]), strict=True):
            row["q"] = q
    return rows


def _rows(
    cell: Cell,
    stored: Rows,
    metrics: Mapping[str, Metric],
    method: Method,
    level: float,
) -> Iterator[dict[str, Any]]:
    """The rows of one cell, q left open."""
    sides: dict[bool, dict[tuple[Any, ...], Value]] = {False: {}, True: {}}
    for row in stored:
        key = (row["category"], row["metric"], row["site"], row["item"])
        fields = {name: row[name] for name in row if name not in ("category", "others")}
        sides[row["others"]][key] = Value(**{**fields, "replicates": tuple(row["replicates"])})
    of = {key: metrics[f"{cell.analysis}.{key[1]}"] for key in sides[False]}
    nothing = Value(metric="", site="", item="", value=None)
    beside = {key: sides[True].get(key, nothing) for key in sides[False]}
    # Not the same documents, and not meant to be: how many the others are is no matter here.
    pairs = [
        (value, replace(beside[key], documents=value.documents), of[key])
        for key, value in sides[False].items()
    ]
    stopped = "until" in cell.settings
    contrasted = contrast_pairs(pairs, method=method, level=level, stopped=stopped)
    for (key, value), metric, found in zip(
        sides[False].items(), of.values(), contrasted, strict=True
    ):
        others = beside[key]
        few = min(value.documents, others.documents) < FEWEST
        sure = level_at_any_stop(value.documents, level) if stopped else level
        contrast = replace(found, **_UNTESTED) if few and not found.reason else found
        yield {
            "model": cell.model,
            "compression": cell.compression,
            "analysis": cell.analysis,
            "category": key[0],
            "intact": metric.intact,
            "worse": metric.worse,
            "seed": cell.seed,
            "q": None,
            **_estimated(value, interval(value, metric, method, sure)),
            **_contrasted(others, contrast),
        }


def _estimated(value: Value, estimate: Estimate) -> dict[str, Any]:
    return {
        "metric": value.metric,
        "site": value.site,
        "item": value.item,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "documents": value.documents,
        "chance": value.chance,
        "reason": estimate.reason,
    }


def _contrasted(others: Value, contrast: Contrast) -> dict[str, Any]:
    return {
        "others": others.value,
        "difference": contrast.difference,
        "difference_low": contrast.low,
        "difference_high": contrast.high,
        "p": contrast.p,
        "documents_others": others.documents,
        "unsaid": contrast.reason,
    }
