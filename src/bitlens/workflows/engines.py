"""Engines: what carries out a sweep that is planned, or trains SAEs, in this process or apart from
it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from bitlens.engine.measured import Measured
from bitlens.engine.measurement import Measurement
from bitlens.engine.wave_size import Pace
from bitlens.progress import ProgressBar
from bitlens.sae.training.trainer import LOOKS, Job, Source, Trained, train
from bitlens.workflows.audit.budget import MemoryBudget
from bitlens.workflows.audit.cost import SweepCost

if TYPE_CHECKING:
    from bitlens.workflows.session import Session


@dataclass(frozen=True, eq=False, kw_only=True)
class PlannedSweep:
    """A sweep that has not begun, and what is known of it."""

    session: "Session"
    measurement: Measurement
    budget: MemoryBudget
    cost: SweepCost
    pace: Pace

    def values(self) -> Iterator[Measured]:
        """Every value, by the engine of the session, with a bar of how far it is."""
        with ProgressBar("sweep", "tokens", self.cost.tokens) as bar:
            yield from self.session.given.engine.values(self, bar)


@dataclass(frozen=True, eq=False, kw_only=True)
class PlannedTraining:
    """SAEs that are to be trained on the same activations."""

    source: Source
    held_out: Mapping[str, Tensor]
    """By model, `[n, width]` of other documents."""
    jobs: Sequence[Job]
    patience: int = 0
    looks: int = LOOKS


class Engine(Protocol):
    """What carries out sweeps and trains SAEs. Which does changes no digit."""

    def trained(self, training: PlannedTraining, log: Callable[[str], None]) -> Iterable[Trained]:
        """Every SAE, in whatever order. BitlensError for one that did not stay finite."""

    def values(self, sweep: PlannedSweep, bar: ProgressBar) -> Iterator[Measured]:
        """Every value of a sweep; `bar` is told of every token that passed."""


class Here:
    """This process, with the models that it has loaded."""

    def trained(self, training: PlannedTraining, log: Callable[[str], None]) -> Iterable[Trained]:  # noqa: ARG002
        """Every SAE, all in one pass."""
        of = training
        return train(of.source, of.held_out, of.jobs, of.patience, looks=of.looks)

    def values(self, sweep: PlannedSweep, bar: ProgressBar) -> Iterator[Measured]:
        """Every value, as the last wave passes its site."""
        depth, forwards = sweep.session.layout.depth, sweep.cost.forwards
        return sweep.measurement.values(
            # All models together pass a token on through so many blocks.
            lambda tokens: bar.add(tokens / (forwards * depth)),
            sweep.pace,
            lambda at: bar.at(_place(at, depth)),
        )


def _place(depth: int, blocks: int) -> str:
    """Where a sweep has come to, in words."""
    if depth < 0:
        return "embedding"
    return f"block {depth + 1} of {blocks}" if depth < blocks else "logits"
