"""The reference's circuits: which nodes, by their effects on pairs of prompts that nothing is
measured on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bitlens.analyses.causal.effects import ModelEffects
from bitlens.analyses.causal.measures import Means, PairWeights, faithfulness, sizes_of
from bitlens.analyses.causal.nodes import NOTHING, Node, circuit, circuit_name
from bitlens.analyses.causal.scores import PairScoresOf
from bitlens.engine.runs import REFERENCE, ForwardRun
from bitlens.seeds import generator

ENOUGH = 0.8
"""A circuit is as small as it can be and still gives so much of the gap by itself."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ChosenCircuit:
    """What was chosen for a task."""

    task: str
    order: Sequence[Node]
    """All nodes, those of largest effect first."""
    size: int
    """How many of them the circuit has."""
    enough: bool = True
    """Whether it gives so much of the gap as was asked for; else it is the largest that was
    tried."""

    def first(self, size: int) -> list[Node]:
        """The nodes of largest effect."""
        return list(self.order[:size])

    @property
    def nodes(self) -> list[Node]:
        """The circuit's."""
        return self.first(self.size)

    def named(self, size: int) -> str:
        """What the circuit of so many nodes is called in a run's name."""
        return f"the {size} first of {self.task}"

    def random(self, seed: int) -> list[Node]:
        """As many nodes as the circuit has, drawn."""
        draw = generator(seed, "random circuit", self.task)
        numbers = np.sort(draw.choice(len(self.order), self.size, replace=False))
        return [self.order[n] for n in numbers]

    @property
    def named_random(self) -> str:
        """What those are called."""
        return f"{self.size} drawn for {self.task}"


def ordered(task: str, scores: PairScoresOf, nodes: Sequence[Node]) -> list[Node]:
    """Nodes by the size of their effect, whichever its sign, the mean of both ways."""
    pairs = len(scores[task, REFERENCE].clean)
    effects = ModelEffects(
        task=task,
        model=REFERENCE,
        scores=scores,
        nodes=nodes,
        weights=PairWeights(np.ones((1, 1)), np.zeros(pairs, dtype=int)),
    )
    size = np.abs(effects.both[0])
    # Without a gap there are no effects: nothing is measured of such a task.
    order = np.argsort(-np.nan_to_num(size, posinf=0.0), kind="stable")
    return [nodes[n] for n in order]


def growing(orders: Mapping[str, Sequence[Node]], nodes: Sequence[Node]) -> list[ForwardRun]:
    """Runs of the reference with the first nodes of every task alone, in all sizes, and
    with no node at all."""
    found = [circuit(REFERENCE, NOTHING, [], nodes)]
    for task, order in orders.items():
        chosen = ChosenCircuit(task=task, order=order, size=0)
        found += [
            circuit(REFERENCE, chosen.named(size), chosen.first(size), nodes)
            for size in sizes_of(len(nodes))
        ]
    return found


def chosen(task: str, order: Sequence[Node], scores: PairScoresOf) -> ChosenCircuit:
    """The smallest circuit that gives enough of the gap, or the largest that was tried."""
    pairs = np.ones((1, len(scores[task, REFERENCE].clean)))
    whole = ChosenCircuit(task=task, order=order, size=0)
    sizes = sizes_of(len(order))
    base = Means.of(scores[task, REFERENCE], pairs)
    none = Means.of(scores[task, circuit_name(REFERENCE, NOTHING)], pairs)
    for size in sizes:
        run = scores[task, circuit_name(REFERENCE, whole.named(size))]
        enough = bool(faithfulness(base, Means.of(run, pairs), none)[0] >= ENOUGH)
        if enough:
            break
    return ChosenCircuit(task=task, order=order, size=size, enough=enough)


def compared(task: str, circuits: Mapping[str, ChosenCircuit]) -> dict[str, str]:
    """By what is said of them, the names of circuits of one size: the task's, drawn nodes, and
    those of another task, of the one that shares fewest nodes with this one."""
    mine, size = circuits[task], circuits[task].size
    found = {"own": mine.named(size), "drawn": mine.named_random}
    others = [one for name, one in circuits.items() if name != task]
    if others:
        # Of two tasks with one mechanism the first would be the same circuit again.
        other = min(others, key=lambda one: len({*mine.nodes} & {*one.first(size)}))
        found[f"of {other.task}"] = other.named(size)
    return found
