"""The effects of a sensitivity run, from what was measured of its forks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import compress

import numpy as np

from bitlens.results.records import Value
from bitlens.results.sensitivity.measures import (
    MEASURES,
    DamageMeasure,
    Read,
    difference,
    unchanged,
)
from bitlens.results.sensitivity.records import Effect
from bitlens.results.stats.intervals import interval
from bitlens.results.stats.percentiles import Method
from bitlens.workflows.sensitivity.forks import Fork

Values = dict[tuple[str, str], dict[tuple[str, str, str], Value]]
"""By fork and analysis, every value by metric, site and item."""


def effects_of(
    forks: Sequence[Fork],
    values: Values,
    measures: Sequence[str],
    method: Method,
    told: np.ndarray | None = None,
) -> list[Effect]:
    """Every measure of every fork. `method`: how the values' replicates were made; `told`
    `[replicates]`: which of them leave out a document that was read, None: all."""
    whole = {fork.compression: fork.name for fork in forks if fork.unit is None}
    found: list[Effect] = []
    for measure in (MEASURES[name] for name in measures):
        for fork in forks:
            base = values.get((whole[fork.compression], measure.analysis), {})
            own = values.get((fork.name, measure.analysis), {})
            found += _of_fork(fork, measure, damage(fork, measure, own, base), method, told)
    return found


def over_items(values: Sequence[Value]) -> Value:
    """The mean over a measure's items, shard by shard."""
    lost = next((value for value in values if value.value is None), None)
    if lost is not None:
        return lost
    numbers = np.array([[v.value, *v.replicates] for v in values], dtype=np.float64).mean(axis=0)
    first, *rest = numbers.tolist()
    return replace(values[0], value=first, replicates=tuple(rest))


def damage(fork: Fork, measure: DamageMeasure, own: Read, base: Read) -> Mapping[str, Value]:
    """A fork's damage by item. What it does not reach is as in the reference where the unit alone
    is compressed, and as in the whole twin where all but it is."""
    everything = measure.read(base, {})
    if fork.way == "whole":
        return everything
    if fork.way == "only":
        return measure.read(own, unchanged(base))
    left = measure.read(own, base)
    return {item: difference(everything[item], left[item]) for item in everything}


def _of_fork(
    fork: Fork,
    measure: DamageMeasure,
    found: Mapping[str, Value],
    method: Method,
    told: np.ndarray | None,
) -> Iterator[Effect]:
    metric = measure.metric
    if fork.way == "all but":
        # A difference may be on either side of 0: its scale is the number itself.
        metric = replace(metric, scale="linear")
    for item, value in found.items():
        sure = value
        if told is not None and len(told) == len(value.replicates):
            # One that leaves out nothing that was read is the value itself.
            sure = replace(value, replicates=tuple(compress(value.replicates, told)))
        yield Effect(
            compression=fork.compression,
            unit=fork.unit.name if fork.unit else "",
            way=fork.way,
            measure=measure.name,
            item=item,
            replicates=value.replicates,
            **asdict(interval(sure, metric, method)),
        )
