"""Analysis: one question about a reference and a twin, mostly answered from what is summed as they
run."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from bitlens.data.circuit_tasks.prompts import TaskPrompts
from bitlens.data.corpus import Corpus
from bitlens.data.labelled_corpus import LabelledCorpus
from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.engine.gram import Gram
from bitlens.engine.interventions import Intervention
from bitlens.results.records import DetailTable, Metric, MetricResult

if TYPE_CHECKING:
    from bitlens.models.layout import Layout


@dataclass(frozen=True, eq=False)
class Sample:
    """Sampled positions of one run at one site, for what cannot be summed (CKA) and for
    chance. The reference's is shared by all twins, so what is derived from it is, too."""

    values: np.ndarray
    """`[n, width]` float32."""
    shard: np.ndarray
    """`[n]`."""

    @cached_property
    def gram(self) -> Gram:
        """Products of every two positions."""
        return Gram.of(torch.from_numpy(self.values), self.shard)

    def mismatched(self) -> "Sample":
        """Every position in the place of another: what chance is measured with."""
        rolled = Sample(np.roll(self.values, 1, axis=0), self.shard)
        if "gram" in self.__dict__:
            rolled.__dict__["gram"] = self.gram.rolled()
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


Item = Literal["cumulative", "local"]
"""Errors of a twin as it runs, or of one of its blocks given the reference's input."""
CUMULATIVE: Item = "cumulative"
LOCAL: Item = "local"
TWIN = "twin"
"""The run of the twin at hand, whatever it is called: a source of an intervention."""

Requirement = Literal["saes", "eager_attention", "labelled", "routers", "tasks"]
"""SAEs that were trained on the model; attention that hands out its patterns; labelled texts;
blocks whose MLP is a mixture of experts; prompts of tasks, which are asked for by name."""


@dataclass(frozen=True)
class SampleSize:
    """How many positions are sampled: so many at most, or one in so many where that is fewer."""

    most: int = 0
    one_in: int = 1
    fewest: int = 0
    """That there are at least, where there are as many."""

    def of(self, positions: int) -> int:
        """How many of so many positions."""
        return min(max(positions // self.one_in, self.fewest), self.most)


@dataclass(frozen=True, eq=False)
class Branch:
    """A run that leaves its model's and goes on with interventions, on the seeded subset of the
    documents."""

    model: Literal["reference", "twin"]
    name: str
    interventions: tuple[Intervention, ...]
    """In the order of depth, at least one; one that takes from `TWIN` takes from the twin's run."""


@dataclass(frozen=True, kw_only=True)
class ReadRequest:
    """Which activations an analysis reads, of which runs."""

    sites: tuple[str, ...]
    item: Item = CUMULATIVE
    """Of the twin as it runs, or of each of its blocks on the reference's input."""
    beside_local: bool = False
    """Whether it reads the blocks on the reference's input beside the twin as it runs, in the
    documents that they run on."""
    given: tuple[str, ...] = ()
    """Of single blocks: kinds of sites inside the block (`attn`, `router`) that the twin's is given
    as the reference has them, besides the input."""
    branches: tuple[Branch, ...] = ()
    """Runs with an intervention that are read at the same sites."""
    through_unembedding: bool = False
    """Whether it reads sampled positions through the unembedding, at all its sites together."""
    sample: SampleSize = SampleSize()
    """Positions kept at every site, for `compute` and for chance; none: chance is known or found
    by the analysis itself."""
    selectable: bool = False
    """Whether the user may say at which of the sites it looks."""


@dataclass(frozen=True, kw_only=True)
class AnalysisContext:
    """What there is for an analysis when it is made for a model."""

    saes: tuple[Any, ...] = ()
    """The SAEs that were named for the model, each in its place (`PlacedSae` of
    `bitlens.sae.placed_sae`); none where no analysis requires or takes them."""
    labelled: LabelledCorpus | None = None
    """Labelled texts as the model reads them; None where no analysis requires them."""
    labelled_place: Literal["last", "mean"] = "last"
    """What is read of a labelled text: its last token, or the mean over all that count."""
    tasks: tuple[TaskPrompts, ...] = ()
    """The prompts of the tasks that were asked for; none where no analysis requires them."""
    positions: int | None = None
    """How many positions of the corpus count; None: not known."""


@dataclass(frozen=True)
class Question(ABC):
    """What every analysis is, whichever way it is answered: its name, its numbers, what it needs.
    Subclasses are frozen settings."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    requires: ClassVar[frozenset[Requirement]] = frozenset()
    """What must be there; where no SAE is named, an analysis that requires one is left out."""
    takes: ClassVar[frozenset[Requirement]] = frozenset()
    """What it has a use for besides, where it is there."""
    outputs: ClassVar[bool] = False
    """Whether it is of what the models put out on the corpus, beside which the compute floor
    stands."""

    @classmethod
    def create(cls, context: AnalysisContext) -> Self:
        """The analysis with its default settings, and with what it requires of the context."""
        return cls()

    @property
    def settings(self) -> dict[str, Any]:
        """What its values depend on besides what it reads."""
        return asdict(self)


@dataclass(frozen=True)
class Analysis(Question):
    """A question that is answered from what is summed as the models run over texts, in the one
    sweep of all of them. The arithmetic is in `update` and `compute`."""

    unpaired: ClassVar[frozenset[str]] = frozenset()
    """Metrics that are the same whichever positions are paired, so that mismatched ones tell
    nothing of chance."""
    by_category: ClassVar[bool] = False
    """Whether its numbers are told of each category of the texts too, where somebody asks."""

    @property
    def kept_bytes(self) -> int:
        """Bytes that it keeps of the corpus in each model, as many as no single position tells."""
        return 0

    def metrics_at(self, place: str) -> tuple[Metric, ...]:
        """The metrics that it has of a site, or of all together (empty)."""
        return self.metrics

    def documents(self, reader: TokenizerFacts) -> tuple[Corpus, int] | None:
        """Documents of its own and how many of them, the first, every replicate keeps; None: it
        reads the corpus."""
        return None

    @abstractmethod
    def reads(self, layout: "Layout") -> Sequence[ReadRequest]:
        """What it reads of a model; a site at most once of the twin as it runs."""

    @abstractmethod
    def update(self, pair: ActivationPair) -> Accumulator:
        """What one batch adds. Batch size, order and padding must not change the sum."""

    @abstractmethod
    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        """Every metric of a site from its complete sums and the sampled positions, in numpy."""

    def compute_overall(self, sites: Mapping[str, ReplicateState], texts: CorpusReader) -> Results:
        """What can be said only when all sites are done."""
        return []


@dataclass(frozen=True)
class BranchAnalysis(Analysis):
    """An analysis that reads branches, runs with interventions beside those of the models."""

    @abstractmethod
    def reduce_branch(
        self, activations: Activations, positions: Positions, reference: Activations
    ) -> Tensor:
        """What `update` needs of a branch, a few numbers a position: the activations of all
        branches at once would not fit. `reference`: of the same positions."""


def sites_of(requests: Sequence[ReadRequest]) -> list[str]:
    """All sites of some requests, each once, in their order."""
    return list(dict.fromkeys(name for request in requests for name in request.sites))
