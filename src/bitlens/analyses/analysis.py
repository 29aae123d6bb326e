"""What an analysis is: one question about pairs of streams, answered from tallies."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from bitlens.readings import Pair
from bitlens.records import Metric
from bitlens.registry import Registry
from bitlens.tally import Tally, Totals

if TYPE_CHECKING:
    from bitlens.models.layout import Layout


@dataclass(frozen=True, eq=False)
class Sample:
    """Sampled positions of one stream at one site, for what cannot be summed (CKA) and for
    chance. The reference's is shared by all twins, so what is derived from it is, too."""

    values: np.ndarray
    """`[n, width]` float32."""
    shard: np.ndarray
    """`[n]`."""

    @cached_property
    def gram(self) -> Tensor:
        """`[n, n]` float32: products of every two centred positions; zero on the diagonal."""
        # HSIC does not see a common shift; without it float32 products lose nothing to it.
        centred = torch.from_numpy(self.values - self.values.mean(axis=0))
        return (centred @ centred.T).fill_diagonal_(0)

    def mismatched(self) -> "Sample":
        """Every position in the place of another: what chance is measured with."""
        rolled = Sample(np.roll(self.values, 1, axis=0), self.shard)
        if "gram" in self.__dict__:
            rolled.__dict__["gram"] = self.gram.roll((1, 1), dims=(0, 1))
        return rolled


@dataclass(frozen=True, eq=False)
class Outcome:
    """One metric at one site under every replicate's weights."""

    metric: str
    values: np.ndarray | None
    """`[replicates + 1]`, the value itself first; None with a reason."""
    item: str = ""
    """Only where it differs from the pair's (perplexity of the reference and of the twin)."""
    chance: float | None = None
    """Only where chance is known; else it is measured on mismatched positions."""
    reason: str | None = None


@dataclass(frozen=True)
class Analysis(ABC):
    """One question. Subclasses are frozen settings; the arithmetic is in `tally` and `finish`."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    sample: ClassVar[int]
    """Positions sampled at every site, for `finish` and for chance."""
    kept: ClassVar[int | None] = None
    """Positions whose own numbers the tally keeps (percentiles); None: it keeps none."""
    local: ClassVar[bool] = False
    """Whether it also wants each block of the twin on the reference's input."""
    patterns: ClassVar[bool] = False
    """Whether it reads attention patterns, which only eager attention gives."""

    @property
    def samples(self) -> tuple[int, ...]:
        return (self.sample, self.kept) if self.kept else (self.sample,)

    @abstractmethod
    def sites(self, layout: "Layout") -> list[str]:
        """Where it looks."""

    @abstractmethod
    def tally(self, pair: Pair) -> Tally:
        """What one batch adds. Batch size, order and padding must not change the sum."""

    @abstractmethod
    def finish(self, totals: Totals, reference: Sample, twin: Sample) -> list[Outcome]:
        """Every metric from the complete tally and the sampled positions, in numpy."""


ANALYSES: Registry[Analysis] = Registry("analysis", "bitlens.analyses")
