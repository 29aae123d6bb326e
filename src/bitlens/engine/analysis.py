"""What an analysis is: one question about pairs of streams, answered from tallies."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from bitlens.data.corpus import Corpus
from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.models.block_runner import Intervention
from bitlens.results.records import DetailTable, Metric, MetricResult

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


Results = list[MetricResult | DetailTable]


class CorpusReader(Protocol):
    """Tokens and documents as a reader knows them."""

    def token(self, number: int) -> str:
        """What the tokenizer writes for a token."""

    def document(self, number: int) -> str:
        """A document's name."""

    def before(self, document: int, offset: int, count: int) -> list[str]:
        """Up to `count` tokens of one window that end at a place in a document."""


@dataclass(frozen=True)
class TokenizerFacts:
    """What an analysis with documents of its own must know of the model that will read them."""

    tokens: np.ndarray
    """Ids of ordinary tokens."""
    bos: int | None
    """What every window begins with; None where it begins with nothing."""
    context: int
    seed: int


@dataclass(frozen=True)
class Analysis(ABC):
    """One question. Subclasses are frozen settings; the arithmetic is in `update` and `compute`."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    sample: ClassVar[int] = 0
    """Positions sampled at every site, for `compute` and for chance; 0: chance is known or found
    by the analysis itself."""
    local: ClassVar[bool] = False
    """Whether it also wants each block of the twin on the reference's input."""
    beside_local: ClassVar[bool] = False
    """Whether it reads those beside the twin, in the documents that they run on."""
    patterns: ClassVar[bool] = False
    """Whether it reads attention patterns, which only eager attention gives."""
    narrows: ClassVar[bool] = False
    """Whether the user may say at which of its sites it looks."""
    unpaired: ClassVar[frozenset[str]] = frozenset()
    """Metrics that are the same whichever positions are paired, so that mismatched ones tell
    nothing of chance."""
    outputs: ClassVar[bool] = False
    """Whether it is of what the models put out on the corpus, beside which the compute floor
    stands."""
    lens: ClassVar[bool] = False
    """Whether it reads sampled positions through the unembedding at all its sites together."""

    @property
    def settings(self) -> dict[str, Any]:
        """What its values depend on besides what it reads."""
        return asdict(self)

    def sampled(self, positions: int) -> int:
        """How many of so many positions are sampled."""
        return self.sample

    def documents(self, reader: TokenizerFacts) -> tuple[Corpus, int] | None:
        """Documents of its own and how many of them, the first, every replicate keeps; None: it
        reads the corpus."""
        return None

    def interventions(self, who: str) -> Mapping[str, Intervention]:
        """By name, what is to be put in place of something in forks of the `reference` or the
        `twin`, which are read beside them on the seeded subset of the documents."""
        return {}

    def of_fork(self, reading: Activations, positions: Positions) -> Tensor:
        """What `update` needs of such a fork, a few numbers a position: the readings of all forks
        at once would not fit."""
        raise NotImplementedError(f"{self.name} edits nothing")

    @abstractmethod
    def sites(self, layout: "Layout") -> list[str]:
        """Where it looks."""

    @abstractmethod
    def update(self, pair: ActivationPair) -> Accumulator:
        """What one batch adds. Batch size, order and padding must not change the sum."""

    @abstractmethod
    def compute(self, totals: ReplicateState, reference: Sample, twin: Sample) -> Results:
        """Every metric of a site from its complete tally and the sampled positions, in numpy."""

    def compute_overall(self, sites: Mapping[str, ReplicateState], texts: CorpusReader) -> Results:
        """What can be said only when all sites are done."""
        return []
