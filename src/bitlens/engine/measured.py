"""Measured values: what an analysis found of one comparison, with chance and what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from bitlens.engine.accumulators import ReplicateState
from bitlens.engine.analysis import Results, Sample
from bitlens.engine.comparisons import Comparison
from bitlens.engine.runs import REFERENCE
from bitlens.models.sites import shown_as
from bitlens.results.records import DetailTable, Metric, MetricResult, Value, overflow

Chance = Mapping[tuple[str, str, str], float]
"""By metric, site and item, as they are found: the value on mismatched positions."""

NOTHING = Sample(np.empty((0, 0), np.float32), np.empty(0, np.int64))
"""The sample of an analysis that asks for none."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What came of a comparison at one site, or of all its sites together."""

    comparison: Comparison
    values: list[Value]
    shown: list[DetailTable]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where something was found: of which comparison, at which site, on how many documents."""

    comparison: Comparison
    site: str
    documents: int
    """Copies counted once."""


def measured(place: Place, found: Results, by_chance: Chance, sampled: int = 0) -> Measured:
    """Values and tables of what was found. `by_chance`: on `sampled` mismatched positions."""
    comparison = place.comparison
    told = {m.name for m in comparison.analysis.metrics if _has_chance(m, sampled)}
    told -= comparison.analysis.unpaired
    values, shown = [], []
    for one in found:
        if isinstance(one, DetailTable):
            shown.append(_placed(one, place.site))
            continue
        key = (one.metric, one.site, one.item)
        chance = one.chance
        if chance is None and one.metric in told:
            chance = by_chance.get(key)
        values.append(_value(place, one, chance))
    return Measured(comparison, values, shown)


def _placed(table: DetailTable, name: str) -> DetailTable:
    """A table with the site it is of, where it has a column for it and leaves it empty."""
    sites = table.columns.get("site")
    if not isinstance(sites, list) or any(sites):
        return table
    return DetailTable(table.name, {**table.columns, "site": [name] * len(sites)})


def broken(place: Place, state: ReplicateState, overflowed: str) -> Measured:
    """Of a twin that overflows, first after the site `overflowed`: what is the reference's own,
    and why the rest is not there."""
    reason = overflow(shown_as(overflowed))
    analysis = place.comparison.analysis
    with np.errstate(all="ignore"):
        found = analysis.compute(state, NOTHING, NOTHING)
    kept: Results = [
        one if _of_the_reference(one) else replace(one, values=None, chance=None, reason=reason)
        for one in found
        if isinstance(one, MetricResult)
    ]
    told = {one.metric for one in kept if isinstance(one, MetricResult)}
    names = [m.name for m in analysis.metrics_at(place.site) if m.name not in told]
    kept += [MetricResult(metric, None, reason=reason) for metric in names]
    return measured(place, kept, {})


def first_values(found: Results) -> dict[tuple[str, str, str], float]:
    """By metric, site and item, the values themselves, without replicates, that are finite."""
    return {
        (o.metric, o.site, o.item): float(o.values[0])
        for o in found
        if isinstance(o, MetricResult) and o.values is not None and np.isfinite(o.values[0])
    }


def _has_chance(metric: Metric, sampled: int) -> bool:
    """Whether a sample of positions can tell what chance gives: not of a level, and not of an
    extreme or a percentile that the sample is too small to have."""
    if metric.level or not metric.interval:
        return False
    return metric.quantile is None or min(metric.quantile, 1 - metric.quantile) * sampled >= 1


def _of_the_reference(one: MetricResult) -> bool:
    """Whether a number is of the reference alone, and exists."""
    own = one.item == REFERENCE or one.item.endswith(f", {REFERENCE}")
    return own and one.values is not None and bool(np.all(np.isfinite(one.values)))


def _value(place: Place, found: MetricResult, chance: float | None) -> Value:
    values, reason = found.values, found.reason
    if values is not None and not np.all(np.isfinite(values)):
        values, reason = None, "not finite for every replicate"
    return Value(
        metric=found.metric,
        site=found.site or shown_as(place.site),
        item=", ".join(filter(None, (found.item, place.comparison.default_item))),
        value=None if values is None else float(values[0]),
        replicates=() if values is None else tuple(values[1:].tolist()),
        chance=chance,
        documents=place.documents,
        reason=reason if values is None else None,
    )
