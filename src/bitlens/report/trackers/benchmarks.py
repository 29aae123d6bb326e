"""What a tracker is given of benchmarks: how every model did on each, what each twin changed."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from bitlens.report.trackers.entries import Logged, LoggedTwin, Scalar, named
from bitlens.results.benchmarks.changes import scores
from bitlens.results.benchmarks.folder import Benchmarked
from bitlens.results.benchmarks.records import TABLES
from bitlens.results.records import REFERENCE

_OF_A_CHANGE = ("score", "difference", "low", "high", "lost", "gained", "changed", "p", "q")


def logged_benchmarks(found: Benchmarked) -> Logged:
    """Every model with its scores, the reference among them; changes and outcomes as tables."""
    rows: dict[str, Sequence[Any]] = {"changes": found.changes, "outcomes": found.outcomes}
    return Logged(
        root=found.root,
        twins=tuple(_twins(found)),
        tables={
            name: pa.Table.from_pylist([asdict(row) for row in of], schema=TABLES[name][1])
            for name, of in rows.items()
            if of
        },
        settings={name: found.about[name] for name in ("command", "benchmarks", "limit")},
    )


def _twins(found: Benchmarked) -> Iterator[LoggedTwin]:
    for model in found.models:
        controls = found.twins(model, control=True)
        for compression in (REFERENCE, *found.twins(model)):
            scalars = _of_reference if compression == REFERENCE else _of_twin
            yield LoggedTwin(
                model=model,
                compression=compression,
                seed=0,
                control=compression in controls,
                scalars=tuple(scalars(found, model, compression)),
            )


def _of_reference(found: Benchmarked, model: str, reference: str) -> Iterator[Scalar]:
    for benchmark in found.benchmarks(model):
        outcomes = found.of(model, reference, benchmark)
        for metric in found.parts(benchmark)[0].metrics:
            score = float(np.mean(scores(outcomes, metric).score))
            yield Scalar(named(benchmark, metric, "score"), score)


def _of_twin(found: Benchmarked, model: str, compression: str) -> Iterator[Scalar]:
    for change in found.changes:
        if (change.model, change.compression) == (model, compression):
            for name in _OF_A_CHANGE:
                if (value := getattr(change, name)) is not None:
                    where = (change.benchmark, change.task, change.metric)
                    yield Scalar(named(*where, name), float(value))
