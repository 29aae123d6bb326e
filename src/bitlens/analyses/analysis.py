"""What an analysis is: one question about pairs of streams, answered from tallies."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bitlens.readings import Pair
from bitlens.records import Metric
from bitlens.registry import Registry
from bitlens.tally import Tally, Totals

if TYPE_CHECKING:
    from bitlens.models.layout import Layout


@dataclass(frozen=True, eq=False)
class Sample:
    """Sampled positions of a site, for what cannot be summed (CKA) and for chance."""

    shard: np.ndarray
    """`[n]`."""
    reference: np.ndarray
    """`[n, width]`."""
    twin: np.ndarray
    """`[n, width]`."""


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
    local: ClassVar[bool] = False
    """Whether it also wants each block of the twin on the reference's input."""
    patterns: ClassVar[bool] = False
    """Whether it reads attention patterns, which only eager attention gives."""

    @abstractmethod
    def sites(self, layout: "Layout") -> list[str]:
        """Where it looks."""

    @abstractmethod
    def tally(self, pair: Pair) -> Tally:
        """What one batch adds. Batch size, order and padding must not change the sum."""

    @abstractmethod
    def finish(self, totals: Totals, sample: Sample | None) -> list[Outcome]:
        """Every metric from the complete tally, in numpy."""


ANALYSES: Registry[Analysis] = Registry("analysis", "bitlens.analyses")
