"""The arithmetic of circuits: effects of nodes, agreement of effects, faithfulness of circuits.

Everything is worked out for all replicates at once: the first row is the value itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from bitlens.analyses.causal.scores import PairScores
from bitlens.results.stats.percentiles import Method
from bitlens.results.stats.replicates import SHARDS, bootstrap, bounds, leave_one_out

Array = np.ndarray
PROPORTIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6)
"""Shares of the nodes that circuits have. A grid of its own: MIB's is of edges, from a thousandth
up, and has nothing between a fifth and a half."""


@dataclass(frozen=True, eq=False)
class PairWeights:
    """How much every pair of prompts counts in the value (the first row) and in its replicates."""

    shards: Annotated[Array, "replicates shards"]
    shard: Annotated[Array, "pairs"]
    """Which shard each pair is of."""

    @classmethod
    def of(cls, pairs: int, method: Method, seed: int) -> "PairWeights":
        """Pairs are the unit: in 20 shards that are left out in turn, or drawn again one by one."""
        if method == "bootstrap":
            drawn = bootstrap(np.ones(pairs, dtype=bool), seed=seed)
            return cls(drawn, np.arange(pairs))
        shard = np.arange(pairs) * SHARDS // pairs
        return cls(leave_one_out(np.ones(SHARDS, dtype=bool)), shard)

    @property
    def pairs(self) -> Annotated[Array, "replicates pairs"]:
        """The weight of every pair."""
        return np.asarray(self.shards[:, self.shard])

    def bounds(
        self, values: Annotated[Array, "replicates numbers"], at_once: int = 1
    ) -> tuple[Annotated[Array, "numbers"], Annotated[Array, "numbers"]]:
        """The 95 % interval of each of many numbers. `at_once`: of how many numbers all intervals
        together hold with 95 % (Bonferroni), for whoever picks one of so many."""
        return bounds(values, self.shards, 1 - 0.05 / at_once)

    def half(self, first: bool) -> Annotated[Array, "replicates pairs"]:
        """The weights with one half of the pairs, or with the other: by twos, because kinds of
        prompts take turns."""
        mine = (np.arange(len(self.shard)) // 2) % 2 == 0
        return np.asarray(self.pairs * (mine if first else ~mine))


@dataclass(frozen=True, eq=False)
class Means:
    """Mean scores of a run under every replicate."""

    clean: Annotated[Array, "replicates"]
    corrupt: Annotated[Array, "replicates"]

    @classmethod
    def of(cls, scores: PairScores, weights: Array) -> "Means":
        """`weights` `[replicates, pairs]`."""
        total = weights.sum(axis=1)
        return cls(weights @ scores.clean / total, weights @ scores.corrupt / total)

    @property
    def gap(self) -> Annotated[Array, "replicates"]:
        """How far the clean prompts are from the corrupt ones."""
        return np.asarray(self.clean - self.corrupt)


def denoising(base: Means, patched: Means) -> Annotated[Array, "replicates"]:
    """The share of a model's gap that a node's clean value brings back on the corrupt prompt; 0 of
    a node that does not matter, 1 of one that carries everything."""
    return np.asarray((patched.corrupt - base.corrupt) / base.gap)


def noising(base: Means, patched: Means) -> Annotated[Array, "replicates"]:
    """The share of a model's gap that a node's corrupt value takes away on the clean prompt."""
    return np.asarray((base.clean - patched.clean) / base.gap)


def faithfulness(base: Means, circuit: Means, none: Means) -> Annotated[Array, "replicates"]:
    """f(C) = (m(C) - m(none)) / (m(all) - m(none)) (MIB, arXiv 2504.13151): every node outside of
    the circuit has its corrupt value. `none`: the run in which all nodes have. The corrupt prompt
    is not that run where values are put in place at some positions only, or where the two prompts
    end differently: embeddings stay the clean prompt's."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((circuit.clean - none.clean) / (base.clean - none.clean))


def areas(
    shares: Sequence[float], curve: Annotated[Array, "sizes replicates"]
) -> tuple[Annotated[Array, "replicates"], Annotated[Array, "replicates"]]:
    """After MIB: CPR, the area under f over circuit sizes (1 where every size is faithful,
    higher is better), and CMD, the area between f and 1 (0 is best). `shares` of all nodes,
    ascending; a circuit of none has 0 and one of all has 1, by definition."""
    ends = np.zeros((1, curve.shape[1])), np.ones((1, curve.shape[1]))
    values = np.vstack([ends[0], curve, ends[1]])
    at = np.array([0.0, *shares, 1.0])
    return np.trapezoid(values, at, axis=0), np.trapezoid(np.abs(values - 1), at, axis=0)


def sizes_of(nodes: int) -> list[int]:
    """How many nodes the circuits have of so many: at least one, never all."""
    counts = {round(share * nodes) for share in PROPORTIONS}
    return sorted(count for count in counts if 0 < count < nodes)


def rank_correlation(
    one: Annotated[Array, "replicates nodes"], other: Annotated[Array, "replicates nodes"]
) -> Annotated[Array, "replicates"]:
    """Spearman's, ties at the mean of their ranks; NaN where one side is constant."""
    from scipy.stats import rankdata

    a, b = (rankdata(of, axis=1) for of in (one, other))
    a, b = (of - of.mean(axis=1, keepdims=True) for of in (a, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        products = (a * b).sum(axis=1)
        return np.asarray(products / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))


def top_overlap(
    one: Annotated[Array, "replicates nodes"],
    other: Annotated[Array, "replicates nodes"],
    count: int,
) -> Annotated[Array, "replicates"]:
    """The share of one's `count` nodes of largest effect, whichever sign, that are the other's
    too."""
    tops = [np.argsort(-np.abs(of), axis=1, kind="stable")[:, :count] for of in (one, other)]
    inside = [np.zeros(one.shape, dtype=bool) for _ in tops]
    for mask, top in zip(inside, tops, strict=True):
        np.put_along_axis(mask, top, values=1, axis=1)
    return np.asarray((inside[0] & inside[1]).sum(axis=1) / count)
