"""The sums over an SAE's codes in two models, and which of its latents are features."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bitlens.engine.accumulators import ReplicateState
from bitlens.results.stats.firings import active

BOTH = ("reference", "twin")


@dataclass(frozen=True, eq=False)
class Sums:
    """One SAE's complete sums, under every replicate's weights."""

    state: ReplicateState
    label: str
    latents: int

    def __call__(self, name: str, columns: np.ndarray | None = None) -> np.ndarray:
        """A named sum under every replicate, `[replicates + 1, ...]`; of some columns if given."""
        return self.state.sum(f"{self.label}/{name}", columns)

    def top(self, who: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Every latent's largest activations in one model and their places, `[latents, k]` each."""
        return self.state.top(f"{self.label}/{who}")

    def largest(self, name: str, shards: np.ndarray) -> np.ndarray:
        """A named maximum of every latent over some of the shards, `[latents]`."""
        return self.state.largest_of(f"{self.label}/{name}", shards)

    def under(self, weights: np.ndarray) -> "Sums":
        """This SAE's sums under other weights of the shards, `[replicates + 1, shards]`."""
        return Sums(self.state.under(weights), self.label, self.latents)

    @cached_property
    def count(self) -> np.ndarray:
        """`[replicates + 1, 1]` positions."""
        return self("count")[:, None]

    @cached_property
    def rates(self) -> dict[str, np.ndarray]:
        """`[latents]`: the share of positions on which each latent fires, by model."""
        return {who: self.value(f"fired_{who}") / self.count[0, 0] for who in BOTH}

    def active(self, who: str) -> np.ndarray:
        """The latents that fire often enough in one model."""
        return np.flatnonzero(active(self.value(f"fired_{who}"), self.count[0, 0]))

    def value(self, name: str) -> np.ndarray:
        """A sum over everything, without replicates."""
        return self.state.value(f"{self.label}/{name}")


def features_of(sums: Sums) -> np.ndarray:
    """Which latents are features of the reference? Those that fire often enough, and not
    everywhere with one strength: such a one goes together with nothing."""
    often = sums.active("reference")
    return np.asarray(often[_varies(sums, often)])


def _varies(sums: Sums, features: np.ndarray) -> np.ndarray:
    """Which latents' activations vary over positions in the reference?"""
    total, square = (sums.value(f"{name}_reference")[features] for name in ("sum", "square"))
    return np.asarray(square * sums.count[0, 0] > total**2)
