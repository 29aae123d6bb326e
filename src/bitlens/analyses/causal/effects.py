"""What a model's nodes do for a task: the effect of every node under all replicates."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np

from bitlens.analyses.causal.measures import Means, PairWeights, denoising, noising
from bitlens.analyses.causal.nodes import NOTHING, Node, circuit_name, swap_name
from bitlens.analyses.causal.scores import PairScoresOf

Array = np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelEffects:
    """One model's scores on one task, and those of its runs with a node of the row's partner."""

    task: str
    model: str
    scores: PairScoresOf
    nodes: Sequence[Node]
    weights: PairWeights

    @cached_property
    def base(self) -> Means:
        """Of the model as it is."""
        return self.means(self.model)

    @cached_property
    def none(self) -> Means:
        """Of the model with the corrupt value of every node."""
        return self.means(circuit_name(self.model, NOTHING))

    @property
    def unmoved(self) -> bool:
        """Whether the corrupt values of all nodes together do not surely lower the clean prompts'
        score, by which circuits are judged."""
        low, _ = self.weights.bounds((self.base.clean - self.none.clean)[:, None])
        return not low[0] > 0

    def means(self, run: str) -> Means:
        """Of a run, by name."""
        return Means.of(self.scores[self.task, run], self.weights.pairs)

    @cached_property
    def denoising(self) -> Annotated[Array, "replicates nodes"]:
        """Of every node."""
        return self._effects(self.weights.pairs)[0]

    @cached_property
    def noising(self) -> Annotated[Array, "replicates nodes"]:
        """Of every node."""
        return self._effects(self.weights.pairs)[1]

    @property
    def both(self) -> Annotated[Array, "replicates nodes"]:
        """The mean of the two ways."""
        return np.asarray((self.denoising + self.noising) / 2)

    def of_half(self, first: bool) -> tuple[Array, Array]:
        """Both ways, `[replicates, nodes]` each, on one half of the prompts or on the other."""
        return self._effects(self.weights.half(first))

    def _effects(self, weights: Array) -> tuple[Array, Array]:
        base = Means.of(self.scores[self.task, self.model], weights)
        runs = [
            Means.of(self.scores[self.task, swap_name(self.model, node)], weights)
            for node in self.nodes
        ]
        with np.errstate(invalid="ignore", divide="ignore"):
            ways = [[way(base, run) for run in runs] for way in (denoising, noising)]
        one, other = (np.stack(of, axis=1) for of in ways)
        return one, other

    @cached_property
    def absent(self) -> str:
        """Why the model does not do the task; empty where it does. It does where the mean score on
        clean prompts, and how far they are from the corrupt ones, are surely above 0."""
        values = np.stack([self.base.clean, self.base.gap], axis=1)
        low, _ = self.weights.bounds(values)
        told = ("its mean score on clean prompts is {}", "clean prompts score {} more than corrupt")
        for text, value, bound in zip(told, values[0], low, strict=True):
            if not bound > 0:
                return f"{text.format(f'{value:.3g}')}, not surely above 0"
        return ""

    @cached_property
    def closed(self) -> bool:
        """Whether the gap, by which effects are divided, is not surely above 0."""
        low, _ = self.weights.bounds(self.base.gap[:, None])
        return not low[0] > 0
