"""How far effects add: the sum of the units' own effects against that of the whole."""

from dataclasses import dataclass

import numpy as np

from bitlens.results.records import Estimate, Metric, Value
from bitlens.results.sensitivity.folder import Sensitivity
from bitlens.results.sensitivity.records import Effect, Way
from bitlens.results.stats.intervals import interval
from bitlens.results.stats.percentiles import Method

RATIO = Metric(
    "ratio",
    "How large is the sum of the units' effects beside the effect of all of them together?",
    unit="",
    worse=None,
    intact=1.0,
    scale="log",
    source="HIGGS, arXiv 2411.17525, takes it to be 1",
)


SHARE = Metric(
    "share",
    "What share of the effect of everything together is a unit's?",
    unit="share",
    worse=None,
    intact=0.0,
    source="a ratio of two effects on the same documents",
)


@dataclass(frozen=True, kw_only=True)
class Additivity:
    """The sum of one way's effects over that of the whole; 1 where effects add."""

    compression: str
    way: Way
    measure: str
    item: str
    parts: float
    whole: float
    value: float | None
    low: float | None
    high: float | None
    documents: int
    reason: str | None


def additivity(run: Sensitivity) -> list[Additivity]:
    """Of every compression, measure and item, both ways. Units that no whole compression holds, an
    embedding that was compressed only by itself, are no part of the sum."""
    inside = {unit.name for unit in run.units if unit.block is not None}
    groups: dict[tuple[str, Way, str, str], list[Effect]] = {}
    whole: dict[tuple[str, str, str], Effect] = {}
    for e in run.effects:
        if e.way == "whole":
            whole[e.compression, e.measure, e.item] = e
        elif e.unit in inside:
            groups.setdefault((e.compression, e.way, e.measure, e.item), []).append(e)
    found = []
    for (compression, way, measure, item), parts in groups.items():
        everything = whole[compression, measure, item]
        numbers = [[part.value, *part.replicates] for part in parts if part.value is not None]
        if everything.value is not None and len(numbers) == len(parts):
            found.append(_of(everything, np.array(numbers, dtype=np.float64), way, run.method))
    return found


def share(part: Effect, whole: Effect, method: Method) -> Estimate:
    """What share of the whole's effect one effect is; a reason where the whole does no damage."""
    if part.value is None or whole.value is None:
        numbers, reason = np.array([np.nan]), part.reason or whole.reason or ""
    else:
        parts = np.array([part.value, *part.replicates], dtype=np.float64)
        wholes = np.array([whole.value, *whole.replicates], dtype=np.float64)
        with np.errstate(all="ignore"):
            numbers = np.where(wholes > 0, parts / wholes, np.nan)
        reason = "everything together does no damage"
    return interval(_ratio(numbers, whole, reason), SHARE, method)


def _of(everything: Effect, parts: np.ndarray, way: Way, method: Method) -> Additivity:
    """`parts`: `[units, 1 + replicates]`."""
    total = parts.sum(axis=0)
    whole = np.array([everything.value, *everything.replicates], dtype=np.float64)
    with np.errstate(all="ignore"):
        ratio = total / whole
    sure = interval(_ratio(ratio, everything, "the whole changes nothing"), RATIO, method)
    return Additivity(
        compression=everything.compression,
        way=way,
        measure=everything.measure,
        item=everything.item,
        parts=float(total[0]),
        whole=float(whole[0]),
        value=sure.value,
        low=sure.low,
        high=sure.high,
        documents=sure.documents,
        reason=sure.reason,
    )


def _ratio(numbers: np.ndarray, whole: Effect, reason: str) -> Value:
    """`numbers`: `[1 + replicates]`; the reason where they are not all finite."""
    finite = bool(np.isfinite(numbers).all())
    first, *rest = numbers.tolist()
    return Value(
        metric="ratio",
        site="",
        item=whole.item,
        value=first if finite else None,
        replicates=tuple(rest) if finite else (),
        documents=whole.documents,
        reason=None if finite else reason,
    )
