"""The probes analysis: can what was readable from the reference still be read from the twin, with
the same probe, and with one of the twin's own?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch

from bitlens.analyses.known import ANALYSES
from bitlens.analyses.probes.fitting import Lesson, Probe, fitted, shuffled
from bitlens.analyses.probes.metrics import FEW_NEGATIVES, METRICS, NOT_THERE
from bitlens.analyses.probes.realigning import WAYS
from bitlens.analyses.probes.scores import share_above, threshold_at, weighted_auc
from bitlens.data.corpus import Corpus
from bitlens.data.labelled_corpus import ClassPair, LabelledCorpus
from bitlens.engine.accumulators import Accumulator, DocumentSums, ReplicateState
from bitlens.engine.activations import ActivationPair, Activations
from bitlens.engine.analysis import (
    Analysis,
    AnalysisContext,
    CorpusReader,
    ReadRequest,
    Requirement,
    Results,
    Sample,
    TokenizerFacts,
)
from bitlens.models.sites import all_sites
from bitlens.results.records import DetailTable, Metric, MetricResult
from bitlens.results.shared_names import AS_IT_IS, PROBED_BY, PROBES
from bitlens.results.stats.replicates import bounds

if TYPE_CHECKING:
    from bitlens.models.layout import Layout

Place = Literal["last", "mean"]
"""What of a document is read: its last token, or the mean over the positions that count."""
FORM = 4
"""Of what a cell holds; counted up with it, so that one of an earlier form is made again."""
FEWEST_NEGATIVES = 100
"""Documents of the other class that are read; 1 % of fewer is less than one."""


@ANALYSES.register("probes")
@dataclass(frozen=True)
class Probes(Analysis):
    """Probes for labelled texts at the output of every block, frozen and refitted.

    Learned from one part of the documents and read on the others, which are the sampling unit: an
    interval says how the other documents scatter, given the probe. Chance: probes of shuffled
    labels.
    """

    labelled: LabelledCorpus | None = None
    place: Place = "last"

    name: ClassVar[str] = "probes"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    requires: ClassVar[frozenset[Requirement]] = frozenset({"labelled"})
    unpaired: ClassVar[frozenset[str]] = frozenset(m.name for m in METRICS)

    @classmethod
    def create(cls, context: AnalysisContext) -> Self:
        """On the labelled texts of the context."""
        return cls(context.labelled, context.labelled_place)

    @property
    def settings(self) -> dict[str, Any]:
        """Which labels are of which set, how many documents are learned from, what is read."""
        sets = [] if self.labelled is None else self.labelled.sets
        return {
            "form": FORM,
            "place": self.place,
            "sets": [[p.name, p.positive, p.negative] for p in sets],
            "training": 0 if self.labelled is None else self.labelled.training,
        }

    def documents(self, reader: TokenizerFacts) -> tuple[Corpus, int] | None:
        """The labelled texts, those that are learned from first."""
        labelled = self.labelled
        return None if labelled is None else (labelled.corpus, labelled.training)

    def reads(self, layout: "Layout") -> list[ReadRequest]:
        """The residual stream after every block."""
        return [ReadRequest(sites=tuple(all_sites(layout, ("resid",))), selectable=True)]

    def update(self, pair: ActivationPair) -> Accumulator:
        """What is read of each document, `[documents, width]`, with its label and group."""
        at = pair.positions
        both = {"reference": pair.reference, "twin": pair.twin}
        sums = {who: at.total(read.square) for who, read in both.items()}
        last = at.offset + 1 == at.length
        chosen = torch.nonzero(last).flatten() if self.place == "last" else torch.arange(len(at))
        chosen = chosen.to(at.offset.device)
        some, ends = at.some(chosen), last[chosen].double()
        assert some.label is not None
        assert some.group is not None
        of_documents = {
            "positions": torch.ones_like(ends),
            "tokens": some.length * ends,
            "label": some.label * ends,
            "group": some.group * ends,
        }

        def read(activations: Activations) -> DocumentSums:
            columns = {"read": activations.values[chosen], **of_documents}
            return DocumentSums.of(some.document, some.shard, columns)

        # One for all twins: it is as large as what is read of a twin.
        before = pair.reference.once("labelled", partial(read, pair.reference))
        return Accumulator(sums=sums, documents={"reference": [before], "twin": [read(pair.twin)]})

    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        """Areas, rates and cosines of every set and method at one block."""
        read = _Read.of(state)
        found: Results = []
        for pair in self.labelled.sets if self.labelled else ():
            lessons = read.of_pair(pair)
            for method in PROBED_BY:
                found += _told(lessons, method, f"{pair.name}, {method}")
        return found

    def compute_overall(self, sites: Mapping[str, ReplicateState], texts: CorpusReader) -> Results:
        """What the length of a document tells of its class, which no probe needs to read."""
        read = _Read.of(next(iter(sites.values())))
        found: Results = []
        for pair in self.labelled.sets if self.labelled else ():
            of = read.of_pair(pair)
            area = weighted_auc(of.tokens, of.positive, of.weights)
            found.append(MetricResult("length_auc", area, item=pair.name, chance=0.5))
        return found


@dataclass(frozen=True, eq=False, kw_only=True)
class _Documents:
    """The documents of one set: lessons of both models, and what is read of the others."""

    lessons: Mapping[str, Lesson]
    """By model, of the documents that are learned from; none of a twin that overflows."""
    rows: Mapping[str, np.ndarray]
    """By model, `[n, width]` of the documents that are read."""
    positive: np.ndarray
    """`[n]`, as the two below of those that are read."""
    tokens: np.ndarray
    weights: np.ndarray
    """`[replicates + 1, n]`."""
    replicate_weights: np.ndarray
    """`[replicates + 1, shards]`."""


@dataclass(frozen=True, eq=False)
class _Read:
    """Every document of a site, whatever set it is of."""

    shard: np.ndarray
    columns: Mapping[str, np.ndarray]
    weights: np.ndarray
    """`[replicates + 1, shards]`."""

    @classmethod
    def of(cls, state: ReplicateState) -> "_Read":
        (_, shard, before), (_, _, after) = map(state.documents, ("reference", "twin"))
        sums = {"reference": before["read"], "twin": after["read"]}
        means = {who: of / before["positions"][:, None] for who, of in sums.items()}
        return cls(shard, {**before, **means}, state.weights)

    def of_pair(self, pair: ClassPair) -> _Documents:
        """Those of one set."""
        label = self.columns["label"].round().astype(int)
        member = np.isin(label, pair.labels)
        learned = member & (self.shard == self.weights.shape[1] - 1)
        read = member & ~learned
        positive, rows = (
            label == pair.labels[1],
            {n: self.columns[n] for n in ("reference", "twin")},
        )
        return _Documents(
            lessons={
                name: Lesson.of(of[learned], positive[learned], self.columns["group"][learned])
                for name, of in rows.items()
                if np.isfinite(of[member]).all()
            },
            rows={name: of[read] for name, of in rows.items()},
            positive=positive[read],
            tokens=self.columns["tokens"][read],
            weights=self.weights[:, self.shard[read]],
            replicate_weights=self.weights,
        )


def _told(of: _Documents, method: str, item: str) -> Iterator[MetricResult | DetailTable]:
    """All that is said of one set and method at one block."""
    own = fitted(of.lessons["reference"], method)
    nothing = shuffled(of.lessons["reference"], method)
    area, chance = _area(of, own.probe, "reference"), _by_chance(of, nothing, "reference")
    yield MetricResult("auc_choosing", np.array([own.choosing_auc]), item=item)
    yield MetricResult("auc_reference", area, item=item, chance=chance)
    if "twin" not in of.lessons:
        return
    other = fitted(of.lessons["twin"], method)
    frozen, refitted = (_area(of, probe, "twin") for probe in (own.probe, other.probe))
    by_chance = _by_chance(of, nothing, "twin")
    yield MetricResult("auc_frozen", frozen, item=item, chance=by_chance)
    yield MetricResult("auc_refitted", refitted, item=item, chance=by_chance)
    lost = {
        "lost": (area, frozen),
        "lost_by_rotation": (refitted, frozen),
        "lost_as_information": (area, refitted),
    }
    there = _is_there(area, of.replicate_weights)
    for metric, (before, after) in lost.items():
        if there:
            least = float(before[0]) - by_chance
            yield MetricResult(metric, before - after, item=item, chance=least)
        else:
            yield MetricResult(metric, None, item=item, reason=NOT_THERE)
    yield from _at_threshold(of, own.probe, item, there=there)
    yield from _repaired(of, own.probe, item) if there else ()
    cosine = _cosine(own.probe, other.probe)
    away = float(np.mean([_cosine(own.probe, probe) for probe in nothing]))
    yield MetricResult("direction_cosine", np.array([cosine]), item=item, chance=away)


def _area(of: _Documents, probe: Probe, who: str) -> np.ndarray:
    """`[replicates + 1]`: the area under a probe's curve on one model's activations."""
    return weighted_auc(probe.score(of.rows[who]), of.positive, of.weights)


def _by_chance(of: _Documents, nothing: tuple[Probe, ...], who: str) -> float:
    """The area under the curve of probes that learned nothing, on one model's activations."""
    return float(np.mean([_area(of, probe, who)[0] for probe in nothing]))


def _is_there(area: np.ndarray, weights: np.ndarray) -> bool:
    """Whether the reference's own probe reads anything: its interval is above one half."""
    low = bounds(area[:, None], weights)[0][0]
    return bool((area[0] if np.isnan(low) else low) > 0.5)


def _at_threshold(of: _Documents, own: Probe, item: str, *, there: bool) -> Iterator[MetricResult]:
    """What the reference's probe flags at the threshold that it has on the reference."""
    negatives = int((~of.positive).sum())
    few = FEW_NEGATIVES.format(negatives) if negatives < FEWEST_NEGATIVES else ""
    if few or not there:
        for metric in ("false_positive_change", "detected_change"):
            yield MetricResult(metric, None, item=item, reason=few or NOT_THERE)
        return
    scores = {who: own.score(rows) for who, rows in of.rows.items()}
    weights = {kind: of.weights[:, of.positive == kind] for kind in (False, True)}
    threshold = threshold_at(scores["reference"][~of.positive], weights[False])
    for kind, metric in ((False, "false_positive"), (True, "detected")):
        rates = {
            who: share_above(score[of.positive == kind], threshold, weights[kind])
            for who, score in scores.items()
        }
        for who, rate in rates.items():
            name = "false_positives" if metric == "false_positive" else metric
            yield MetricResult(name, rate, item=f"{item}, {who}")
        yield MetricResult(f"{metric}_change", rates["twin"] - rates["reference"], item=item)


def _repaired(of: _Documents, own: Probe, item: str) -> Iterator[MetricResult | DetailTable]:
    """What the reference's probe reads of a twin whose activations were brought back, and the
    probe of the twin's own activations that the two together are."""
    before = own.score(of.rows["reference"])
    weights = of.weights[:, ~of.positive]
    few = int((~of.positive).sum()) < FEWEST_NEGATIVES
    lessons = of.lessons["reference"], of.lessons["twin"]
    found = {way: bring(own, *lessons) for way, bring in WAYS.items()}
    for way, probe in found.items():
        after = probe.score(of.rows["twin"])
        area = weighted_auc(after, of.positive, of.weights)
        yield MetricResult("auc_repaired", area, item=f"{item}, {way}")
        if not few:
            threshold = threshold_at(before[~of.positive], weights)
            rate = share_above(after[~of.positive], threshold, weights)
            yield MetricResult("false_positives_repaired", rate, item=f"{item}, {way}")
    kept = {AS_IT_IS: own, **found}
    yield DetailTable(
        PROBES,
        {
            "site": [""] * len(kept),
            "item": [item] * len(kept),
            "way": list(kept),
            "direction": [probe.direction.tolist() for probe in kept.values()],
            "offset": [probe.offset for probe in kept.values()],
        },
    )


def _cosine(one: Probe, other: Probe) -> float:
    """Between two directions; 0 where one is nought."""
    size = np.linalg.norm(one.direction) * np.linalg.norm(other.direction)
    return float(one.direction @ other.direction / size) if size else 0.0
