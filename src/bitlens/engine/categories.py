"""Categories in accumulators: sums that are kept for each category and shard, put together again.

Where positions are of categories, what an accumulator calls a shard is a shard of one category,
`category * shards + shard`: every analysis sums as ever, and what is said of all documents, of one
category and of all others are sums over some of these.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from bitlens.engine.accumulators import Accumulator, DocumentSums, ReplicateState, SampledRows
from bitlens.engine.analysis import Analysis, Results, Sample
from bitlens.engine.measured import Chance, Measured, Place, first_values, measured
from bitlens.engine.plan import DocumentSet
from bitlens.engine.samples import SampledActivations
from bitlens.results.records import DetailTable, MetricResult, Value

TABLE = "categories"
"""The table of what an analysis found of each category and of all others together."""
FEWEST_SAMPLED = 20
"""Mismatched positions below which they do not tell what chance gives of a category."""


def of_categories(whole: Accumulator, shards: int, chosen: Sequence[int]) -> Accumulator:
    """What was summed of some categories, by shard: `[shards, ...]`. `shards`: of each category.

    What is kept of single documents and of the largest is left as it is.
    """
    places = list(chosen)

    def rows(parts: list[SampledRows]) -> list[SampledRows]:
        kept = []
        for part in parts:
            within = torch.isin(part.shard // shards, torch.tensor(places).to(part.shard.device))
            values = {name: of[within] for name, of in part.values.items()}
            kept.append(SampledRows(part.key[within], part.shard[within] % shards, values))
        return kept

    def documents(parts: list[DocumentSums]) -> list[DocumentSums]:
        return [replace(part, shard=part.shard % shards) for part in parts]

    return Accumulator(
        sums={n: v.unflatten(0, (-1, shards))[places].sum(0) for n, v in whole.sums.items()},
        largest={n: v.unflatten(0, (-1, shards))[places].amax(0) for n, v in whole.largest.items()},
        rows={name: rows(parts) for name, parts in whole.rows.items()},
        top=whole.top,
        documents={name: documents(parts) for name, parts in whole.documents.items()},
    )


def of_everything(whole: Accumulator, documents: DocumentSet) -> Accumulator:
    """What was summed of all categories, by shard; as it is where there are none."""
    if documents.categories is None:
        return whole
    every = range(len(documents.categories.labels))
    return of_categories(whole, documents.base, every)


def by_category(
    place: Place,
    whole: Accumulator,
    documents: DocumentSet,
    samples: tuple[SampledActivations, SampledActivations] | None,
    mismatched: Accumulator | None,
) -> DetailTable | None:
    """Every metric of each category, and of all others together; None where there are none.

    `samples`: of the reference and the twin, where the analysis keeps any; `mismatched`: what
    chance was measured with, told of a category of `FEWEST_SAMPLED` sampled positions or more.
    """
    categories, analysis = documents.categories, place.comparison.analysis
    if categories is None or not analysis.by_category:
        return None
    every = range(len(categories.labels))
    rows: list[tuple[str, bool, Value]] = []
    for number, label in enumerate(categories.labels):
        others = [other for other in every if other != number]
        for chosen, of_others in (([number], False), (others, True)):
            part = _Part(whole, documents, chosen)
            if not part.documents:
                continue
            found = part.measured(place, samples, None if of_others else mismatched)
            rows += [(label, of_others, value) for value in found.values]
    return _table(rows) if rows else None


class _Part:
    """Some of the categories of one accumulator."""

    def __init__(self, whole: Accumulator, of: DocumentSet, chosen: Sequence[int]) -> None:
        self._shards, self._chosen = of.base, chosen
        self._state = of_categories(whole, of.base, chosen).under(of.weights)
        self.documents = of.documents_in(chosen)

    def measured(
        self,
        place: Place,
        samples: tuple[SampledActivations, SampledActivations] | None,
        mismatched: Accumulator | None,
    ) -> Measured:
        """Its values, as those of all documents are found."""
        analysis = place.comparison.analysis
        sampled = self._samples(samples)
        # What a few documents have none of is no number, which is said; no need to warn of it too.
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found = _kept(analysis.compute(self._state, *sampled))
            chance = self._chance(analysis, mismatched, sampled)
        at = replace(place, documents=self.documents)
        return measured(at, found, chance, len(sampled[0].shard))

    def _samples(
        self, samples: tuple[SampledActivations, SampledActivations] | None
    ) -> tuple[Sample, Sample]:
        if samples is None:
            nothing = Sample(np.empty((0, 0), np.float32), np.empty(0, np.int64))
            return nothing, nothing
        return samples[0].within(self._chosen), samples[1].within(self._chosen)

    def _chance(
        self, analysis: Analysis, mismatched: Accumulator | None, sampled: tuple[Sample, Sample]
    ) -> Chance:
        if mismatched is None or len(sampled[0].shard) < FEWEST_SAMPLED:
            return {}
        part = of_categories(mismatched, self._shards, self._chosen)
        state = ReplicateState(part, np.ones((1, self._shards)))
        return first_values(analysis.compute(state, sampled[0], sampled[1].mismatched()))


def _kept(found: Results) -> Results:
    """The numbers, without tables; of those that some replicate has not, because it leaves out the
    only documents of the category, the number itself."""
    return [
        replace(one, values=one.values[:1])
        if one.values is not None
        and np.isfinite(one.values[0])
        and not np.isfinite(one.values).all()
        else one
        for one in found
        if isinstance(one, MetricResult)
    ]


def _table(rows: Sequence[tuple[str, bool, Value]]) -> DetailTable:
    """One row a number, `others` where it is of all other categories."""

    def columns() -> Iterator[tuple[str, list[object]]]:
        yield "category", [label for label, _, _ in rows]
        yield "others", [of_others for _, of_others, _ in rows]
        for name in ("metric", "site", "item", "value", "replicates", "chance"):
            yield name, [getattr(value, name) for _, _, value in rows]
        for name in ("documents", "reason"):
            yield name, [getattr(value, name) for _, _, value in rows]

    return DetailTable(TABLE, dict(columns()))
