"""Stores whose cells hold real replicates: means over shards that a test gives."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bitlens.results.estimates import contrasts, estimates
from bitlens.results.records import Cell, Metric, Value
from bitlens.results.stats.replicates import leave_one_out
from bitlens.results.store import Store
from tests.support import results

METRICS = (
    Metric("kl", "How far?", unit="nats", worse="higher", intact=0.0),
    Metric("perplexity", "How surprised?", unit="", worse="higher", intact=None, level=True),
)
TOKENS = "9f2c1ab04d7e5513"
REFERENCE = np.linspace(8, 12, 20)
"""The reference's perplexity, shard by shard."""


def value(metric: str, shards: Sequence[float], item: str = "", documents: int = 0) -> Value:
    """The mean over shards of equal size, and what it is without each."""
    weights = leave_one_out(np.ones(len(shards), dtype=bool))
    whole, *others = (weights @ np.asarray(shards) / weights.sum(axis=1)).tolist()
    return Value(
        metric=metric,
        site="logits",
        item=item,
        value=whole,
        replicates=tuple(others),
        documents=documents or max(20, len(shards)),
    )


def compared_store(
    path: Path,
    twins: Mapping[str, Sequence[float]],
    *,
    model: str = "m",
    reference: Sequence[float] | None = None,
    documents: int = 0,
    **settings: Any,
) -> Path:
    """A store of `behaviour` with the KL of each twin by shards. `reference`: its perplexity by
    shards; `documents`: how many the shards hold; `settings`: other settings of the cells."""
    store = Store.create(path)
    known = {"tokens": TOKENS, "weights": "5d1c", "positions": "content", "interval": "jackknife"}
    cells = []
    for name, shards in twins.items():
        cell = Cell(
            model=model,
            compression=name,
            analysis="behaviour",
            seed=0,
            settings=known | {"bitlens": "0.1.0"} | settings,
        )
        trace = REFERENCE[: len(shards)] if reference is None else reference
        values = [
            value("kl", shards, documents=documents),
            value("perplexity", trace, "reference", documents),
            value("perplexity", np.asarray(trace) * (1 + np.asarray(shards)), "twin", documents),
        ]
        store.write_cell(cell, values)
        cells.append(results.entry(cell))
    about = results.manifest(
        models=[results.model(model)],
        corpora=[results.corpus(model, token_hash=str(settings.get("tokens", TOKENS)))],
        twins=[
            results.twin(
                name,
                model,
                bits=8.0 - number,
                bytes=10**7 - 10**6 * number,
                control=name.startswith("noise:"),
                like=name[len("noise:like=[") : -1] if name.startswith("noise:") else None,
            )
            for number, name in enumerate(twins)
        ],
        metrics={f"behaviour.{metric.name}": asdict(metric) for metric in METRICS},
        cells=cells,
    )
    store.write_table("estimates", estimates(store, about))
    store.write_table("contrasts", contrasts(store, about))
    store.write_table("coverage", [])
    store.write_run(results.RUN)
    store.write_manifest(about)
    return path
