"""What is said of one twin on one task: metrics, and the rows of the tables that are shown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from bitlens.analyses.causal.circuits import ChosenCircuit, compared
from bitlens.analyses.causal.compared_nodes import CLOSED, ComparedNodes
from bitlens.analyses.causal.effects import ModelEffects
from bitlens.analyses.causal.latents import Latent
from bitlens.analyses.causal.measures import areas, faithfulness, sizes_of
from bitlens.analyses.causal.nodes import circuit_name
from bitlens.results.records import MetricResult

Array = np.ndarray
Row = dict[str, Any]
UNMOVED = (
    "the corrupt values of all nodes together, at these positions, do not surely lower the clean "
    "prompts' score: no circuit can be told from another"
)


@dataclass(frozen=True, eq=False, kw_only=True)
class TwinFindings:
    """A twin beside its reference on one task that the reference does."""

    nodes: ComparedNodes
    """Heads and MLPs."""
    latents: Mapping[str, ComparedNodes] = field(default_factory=dict)
    """By SAE, those of its latents that were put in place."""
    circuits: Mapping[str, ChosenCircuit]
    """Of this task and of the others that the reference does."""
    total: int
    """Heads and MLPs of the model, of which circuits have shares."""

    @property
    def reference(self) -> ModelEffects:
        """The reference's effects."""
        return self.nodes.reference

    @property
    def twin(self) -> ModelEffects:
        """The twin's."""
        return self.nodes.twin

    @property
    def task(self) -> str:
        """Which task."""
        return self.reference.task

    @property
    def circuit(self) -> ChosenCircuit:
        """The reference's, of this task."""
        return self.circuits[self.task]

    def metrics(self) -> Iterator[MetricResult]:
        """Everything that is said in one number."""
        yield from self._levels()
        yield from self.nodes.metrics()
        for of in self.latents.values():
            yield from of.metrics()
        yield from self._faithfulness()

    def _sides(self) -> Iterator[tuple[str, ModelEffects]]:
        yield "reference", self.reference
        yield "twin", self.twin

    def _levels(self) -> Iterator[MetricResult]:
        weights = self.reference.weights.pairs
        for who, of in self._sides():
            right = (of.scores[self.task, of.model].clean > 0) * 1.0
            share = weights @ right / weights.sum(axis=1)
            for metric, values in (("score", of.base.clean), ("gap", of.base.gap)):
                yield MetricResult(metric, values, item=f"{self.task}, {who}")
            yield MetricResult("right", share, item=f"{self.task}, {who}", chance=0.5)
        kept = self.twin.base.gap / self.reference.base.gap
        yield MetricResult("gap_kept", kept, item=self.task, chance=0.0)

    @cached_property
    def curves(self) -> dict[str, Array]:
        """By model, the faithfulness of the reference's circuits of all sizes in it, `[sizes,
        replicates]`; of a twin without a gap none."""
        names = [self.circuit.named(size) for size in sizes_of(self.total)]
        return {
            who: np.stack([self._faithful(of, name) for name in names])
            for who, of in self._sides()
            if _unjudged(of) is None
        }

    def _faithful(self, of: ModelEffects, name: str) -> Array:
        return faithfulness(of.base, of.means(circuit_name(of.model, name)), of.none)

    def _faithfulness(self) -> Iterator[MetricResult]:
        why = {who: _unjudged(of) for who, of in self._sides()}
        unknown = why["reference"] or why["twin"]
        for which, name in compared(self.task, self.circuits).items():
            told: dict[str, Array] = {}
            for who, of in self._sides():
                item = f"{self.task}, {which}, {who}"
                if why[who] is not None:
                    yield MetricResult("faithfulness", None, item=item, reason=why[who])
                    continue
                told[who] = self._faithful(of, name)
                yield MetricResult("faithfulness", told[who], item=item)
            item = f"{self.task}, {which}"
            if len(told) == 2:
                change = told["twin"] - told["reference"]
                yield MetricResult("faithfulness_change", change, item=item)
            else:
                yield MetricResult("faithfulness_change", None, item=item, reason=unknown)
        shares = [size / self.total for size in sizes_of(self.total)]
        both = {who: areas(shares, curve) for who, curve in self.curves.items()}
        for n, metric in enumerate(("cpr", "cmd")):
            for who, values in both.items():
                yield MetricResult(metric, values[n], item=f"{self.task}, {who}")
            if unknown is None:
                change = both["twin"][n] - both["reference"][n]
                yield MetricResult(f"{metric}_change", change, item=self.task)
            else:
                yield MetricResult(f"{metric}_change", None, item=self.task, reason=unknown)

    def node_rows(self) -> Iterator[Row]:
        """A row a head or MLP, with whether it is the circuit's, and lost."""
        inside, lost = set(self.circuit.nodes), self.lost
        for n, row in enumerate(self.nodes.rows()):
            node = self.reference.nodes[n]
            row |= {"head": -1 if node.head is None else node.head}
            yield row | {"circuit": node in inside, "lost": bool(lost[n])}

    @cached_property
    def lost(self) -> Array:
        """`[nodes]`: which nodes of the circuit are lost in the twin."""
        inside = set(self.circuit.nodes)
        mine = np.array([node in inside for node in self.reference.nodes])
        return np.asarray(mine & self.nodes.halved(len(inside)))

    def latent_rows(self) -> Iterator[Row]:
        """A row a latent that was put in place, with whether it is lost, held against all of its
        SAE's at once."""
        for of in self.latents.values():
            nodes = of.reference.nodes
            lost = of.halved(len(nodes))
            for node, row, gone in zip(nodes, of.rows(), lost, strict=True):
                assert isinstance(node, Latent)
                told = {"sae": node.placed.sae.label, "site": node.site, "latent": node.number}
                yield row | told | {"lost": bool(gone)}

    def curve_rows(self) -> Iterator[Row]:
        """A row a size of the circuit."""
        for n, size in enumerate(sizes_of(self.total)):
            row: Row = {"task": self.task, "nodes": size}
            for who in ("reference", "twin"):
                curve = self.curves.get(who)
                row[who] = None if curve is None else float(curve[n, 0])
            yield row


def _unjudged(of: ModelEffects) -> str | None:
    """Why nothing can be said of circuits in a model; None where it can."""
    if of.closed:
        return CLOSED
    return UNMOVED if of.unmoved else None


def absent(task: str, reason: str) -> MetricResult:
    """Of a task that there are no prompts of, or that the reference does not do."""
    return MetricResult("gap_kept", None, item=task, reason=reason)


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Rows as columns."""
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
