"""Engines: what carries out a sweep that is planned, in this process or apart from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bitlens.engine.measured import Measured
from bitlens.engine.measurement import Measurement
from bitlens.engine.wave_size import Pace
from bitlens.progress import ProgressBar
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


class Engine(Protocol):
    """What carries out sweeps. Which does changes no digit."""

    def values(self, sweep: PlannedSweep, bar: ProgressBar) -> Iterator[Measured]:
        """Every value of a sweep; `bar` is told of every token that passed."""


class Here:
    """This process, with the models that it has loaded."""

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
