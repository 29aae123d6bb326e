"""The attention analysis, of patterns: does each head still look where it looked?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.known import ANALYSES
from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import ActivationPair, Activations
from bitlens.engine.analysis import (
    Analysis,
    CorpusReader,
    ReadRequest,
    Requirement,
    Results,
    Sample,
    SampleSize,
)
from bitlens.engine.patterns import entropy, over_keys
from bitlens.models.sites import all_sites
from bitlens.results.records import Metric, MetricResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitlens.models.layout import Layout

FORM = 2
"""Of what a cell holds; counted up with it, so that one of an earlier form is made again."""
MEANS = ("jsd", "tv")
"""Said of every head, and as means over the heads of a block and of the model."""


@ANALYSES.register("attention")
@dataclass(frozen=True)
class Attention(Analysis):
    """How far each head's attention moved, how spread out it is, and how much rests on the first
    position, at every query of every head.

    Patterns of both models on the same tokens, each a distribution over the keys a query may
    see. Chance: the twin's pattern at the same place of another document, or nearly.
    """

    name: ClassVar[str] = "attention"
    requires: ClassVar[frozenset[Requirement]] = frozenset({"eager_attention"})
    unpaired: ClassVar[frozenset[str]] = frozenset({"entropy_shift", "sink_shift"})
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "jsd",
            "How far apart are the two attention patterns? Mean Jensen-Shannon divergence over "
            "queries; ln 2 at most.",
            unit="nats",
            worse="higher",
            intact=0.0,
            scale="log",
            source="Lin 1991",
        ),
        Metric(
            "tv",
            "What share of the attention went elsewhere? Mean total variation over queries.",
            unit="share",
            worse="higher",
            intact=0.0,
            scale="log",
            source="half the L1 distance",
        ),
        Metric(
            "entropy",
            "How spread out is the attention? Mean entropy over queries.",
            unit="nats",
            worse=None,
            intact=None,
            level=True,
            source="Shannon 1948",
        ),
        Metric(
            "entropy_shift",
            "Did the attention become more spread out? Twin's mean entropy minus the reference's.",
            unit="nats",
            worse=None,
            intact=0.0,
        ),
        Metric(
            "sink",
            "How much attention rests on the first position? Mean share over queries.",
            unit="share",
            worse=None,
            intact=None,
            level=True,
            source="attention sinks: Xiao et al. 2023, arXiv 2309.17453",
        ),
        Metric(
            "sink_shift",
            "Does more attention rest on the first position? Twin's mean share minus the "
            "reference's.",
            unit="share",
            worse=None,
            intact=0.0,
        ),
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The form of a cell; all else that decides is fixed."""
        return {"form": FORM}

    def reads(self, layout: "Layout") -> list[ReadRequest]:
        """The pattern of every block; 128 positions are kept for chance."""
        sites = tuple(all_sites(layout, ("pattern",)))
        return [ReadRequest(sites=sites, sample=SampleSize(128), selectable=True)]

    def update(self, pair: ActivationPair) -> Accumulator:
        """Distances, entropies and first keys' shares, summed over queries: `[shards, heads]`."""
        reference, twin = pair.reference, pair.twin
        jsd, tv = _distances(reference, twin)
        columns = {
            "jsd": reference.at_positions(jsd),
            "tv": reference.at_positions(tv),
            "entropy_reference": _entropy(reference),
            "entropy_twin": _entropy(twin),
            "sink_reference": reference.at_positions(reference.values[..., 0]),
            "sink_twin": twin.at_positions(twin.values[..., 0]),
        }
        # In float64, which `total` keeps narrow values in.
        sums = {name: pair.positions.total(of_heads) for name, of_heads in columns.items()}
        sums["count"] = pair.positions.total(torch.ones(len(pair.positions)).to(jsd.device))
        return Accumulator(sums=sums)

    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        """Every metric of every head of one block; distances also as a mean over its heads."""
        means = _means(state)
        found: Results = []
        for name in MEANS:
            found += _by_head(name, means[name])
            found.append(MetricResult(name, means[name].mean(axis=1)))
        for name in ("entropy", "sink"):
            of = {who: means[f"{name}_{who}"] for who in ("reference", "twin")}
            for who, values in of.items():
                found += _by_head(name, values, who)
            found += _by_head(f"{name}_shift", of["twin"] - of["reference"])
        return found

    def compute_overall(
        self, sites: "Mapping[str, ReplicateState]", texts: CorpusReader
    ) -> Results:
        """The distances as means over all heads of all blocks."""
        whole = [_means(state) for state in sites.values()]
        return [
            MetricResult(
                m, np.concatenate([w[m] for w in whole], axis=1).mean(axis=1), site="pattern"
            )
            for m in MEANS
        ]


def _by_head(metric: str, values: np.ndarray, who: str = "") -> Results:
    """An outcome a head: `[replicates + 1, heads]`."""
    tail = f", {who}" if who else ""
    return [MetricResult(metric, of, item=f"head {h}{tail}") for h, of in enumerate(values.T)]


def _means(state: ReplicateState) -> dict[str, np.ndarray]:
    """`[replicates + 1, heads]` each."""
    count = state.sum("count")[:, None]
    names = [*MEANS, *(f"{m}_{who}" for m in ("entropy", "sink") for who in ("reference", "twin"))]
    means = {name: state.sum(name) / count for name in names}
    # Rounding may leave a pattern a hair's breadth on the wrong side of itself.
    means["jsd"] = means["jsd"].clip(min=0)
    return means


def _entropy(pattern: Activations) -> Tensor:
    return pattern.once("entropy at positions", lambda: pattern.at_positions(pattern.entropy))


def _distances(reference: Activations, twin: Activations) -> tuple[Tensor, Tensor]:
    """Jensen-Shannon divergence and total variation, `[rows, heads, queries]` each.

    The divergence is the entropy of the mean less the mean of the entropies: one logarithm an
    entry, where the two Kullback-Leibler terms take two.
    """
    both = reference.values, twin.values
    mixed = over_keys(lambda p, q: entropy(torch.lerp(p, q, 0.5)), *both)
    jsd = mixed - (reference.entropy + twin.entropy) / 2
    return jsd, over_keys(lambda p, q: (p - q).abs_().sum(dim=-1), *both) / 2
