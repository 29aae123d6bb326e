"""The experiment: circuits are chosen on the reference, then one sweep of the reference and all
twins with every node and circuit put in place."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitlens.analyses.causal.attribution import Attributions, attributions, first_cut
from bitlens.analyses.causal.circuits import ChosenCircuit, chosen, growing, ordered
from bitlens.analyses.causal.effects import ModelEffects
from bitlens.analyses.causal.latents import Latent, by_sae, largest
from bitlens.analyses.causal.measures import PairWeights, sizes_of
from bitlens.analyses.causal.nodes import NOTHING, Node, circuit, crossed, nodes_of, swapped
from bitlens.analyses.causal.scores import PairScoresOf, PairSweep, Room
from bitlens.data.circuit_tasks.prompts import TaskPrompts
from bitlens.engine.runs import REFERENCE, ForwardRun
from bitlens.engine.swept_model import SweptModel
from bitlens.models.layout import Layout
from bitlens.progress import ProgressBar
from bitlens.results.stats.percentiles import Method
from bitlens.sae.placed_sae import PlacedSae

MOST = 160
"""Nodes that are put in place one by one; of more, those of which the first cut says most."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PatchedOutcome:
    """What was measured of all models on the tasks that the reference does."""

    nodes: Sequence[Node]
    """Those that were put in place one by one."""
    total: int
    """Heads and MLPs of the model."""
    latents: Mapping[str, Sequence[Latent]]
    """By SAE, its latents that were put in place one by one."""
    attributions: Mapping[str, Attributions]
    """By task that the reference does, what the first cut said of `nodes` and of all latents; empty
    of a model whose weights are not in memory."""
    circuits: Mapping[str, ChosenCircuit]
    """By task that the reference does."""
    absent: Mapping[str, str]
    """By task that it does not, why."""
    weights: Mapping[str, PairWeights]
    """By task."""
    scores: PairScoresOf
    failed: Mapping[str, str]
    """Twins whose weights could not be made, and why."""
    overflowed: Mapping[str, str]
    """Runs that stopped being finite, and after which site."""

    def effects(self, task: str, model: str, nodes: Sequence[Node] | None = None) -> ModelEffects:
        """Of one model on one task: of its heads and MLPs, or of other nodes."""
        return ModelEffects(
            task=task,
            model=model,
            scores=self.scores,
            nodes=self.nodes if nodes is None else nodes,
            weights=self.weights[task],
        )


@dataclass(eq=False, kw_only=True)
class Experiment:
    """What is run, and with what: one sweep that tells which tasks the reference does, two of
    the reference that choose its circuits, and one of all models that everything is measured in."""

    layout: Layout
    twins: Mapping[str, SweptModel]
    crossed: Collection[str]
    """The twins whose nodes are put into the reference, and the other way round."""
    saes: Sequence[PlacedSae] = ()
    """Those of whose latents some are nodes too."""
    room: Room
    method: Method
    seed: int

    def __post_init__(self) -> None:
        self.every = nodes_of(self.layout)
        self.nodes: Sequence[Node] = self.every
        """Those that are put in place one by one: what the first cut leaves of many."""
        self.latents: Sequence[Latent] = ()
        """What the first cut leaves of the latents of all SAEs."""

    def outcome(self, tasks: Sequence[TaskPrompts]) -> PatchedOutcome:
        """Everything, of the tasks that there are prompts of."""
        own = ForwardRun(REFERENCE, REFERENCE)
        weights = {
            t.task: PairWeights.of(len(t.scoring), self.method, self.seed)
            for t in tasks
            if t.reason is None
        }
        plain = self._swept([own], [t for t in tasks if t.task in weights], choosing=False)
        found = PatchedOutcome(
            nodes=self.nodes,
            total=len(self.every),
            latents={},
            attributions={},
            circuits={},
            absent={},
            weights=weights,
            scores=plain.scores(),
            failed={},
            overflowed={},
        )
        absent = {name: found.effects(name, REFERENCE).absent for name in weights}
        present = [t for t in tasks if absent.get(t.task) == ""]
        first = {t.task: self._first(t) for t in present if self._in_memory}
        self._cut(first)
        by_task = {name: of.nodes for name, of in first.items()}
        circuits = self._circuits(present, by_task) if present else {}
        sweep = self._swept(self._runs(circuits), present, choosing=False, twins=self.twins)
        places = [self.every.index(node) for node in self.nodes]
        return replace(
            found,
            nodes=self.nodes,
            latents=by_sae(self.latents),
            attributions={name: replace(of, nodes=of.nodes[places]) for name, of in first.items()},
            circuits=circuits,
            absent={name: why for name, why in absent.items() if why},
            scores=self._scores(sweep),
            failed=sweep.failed,
            overflowed=sweep.overflowed,
        )

    def _cut(self, first: Mapping[str, Attributions]) -> None:
        """What is put in place one by one."""
        if first and len(self.every) > MOST:
            self.nodes = first_cut(self.every, [of.nodes for of in first.values()], MOST)
        for placed in self.saes if first else ():
            label = placed.sae.label
            of_sae = {name: of.latents[label] for name, of in first.items()}
            self.latents = [*self.latents, *largest(placed, of_sae)]

    @property
    def _in_memory(self) -> bool:
        """Gradients take the weights of all blocks at once."""
        return all(p.device.type != "meta" for p in self.layout.model.parameters())

    def _first(self, task: TaskPrompts) -> Attributions:
        return attributions(self.layout, task, self.every, self.room.batch_tokens, self.saes)

    def _circuits(
        self, tasks: Sequence[TaskPrompts], cut: Mapping[str, np.ndarray]
    ) -> dict[str, ChosenCircuit]:
        """The reference's, on prompts that nothing is measured on."""
        own = ForwardRun(REFERENCE, REFERENCE)
        first = self._swept([own, *swapped(REFERENCE, self.nodes)], tasks, choosing=True)
        scores = self._scores(first)
        orders = {t.task: ordered(t.task, scores, self.nodes) for t in tasks}
        for name, of in cut.items():
            # Behind those that were measured, the others as the first cut has them.
            others = [self.every[n] for n in np.argsort(-np.abs(of), kind="stable")]
            orders[name] += [node for node in others if node not in self.nodes]
        grown = self._scores(self._swept([own, *growing(orders, self.every)], tasks, choosing=True))
        return {name: chosen(name, order, grown) for name, order in orders.items()}

    def _runs(self, circuits: Mapping[str, ChosenCircuit]) -> list[ForwardRun]:
        runs = [ForwardRun(REFERENCE, REFERENCE), *self._of_model(REFERENCE, circuits)]
        for twin in self.twins:
            runs += [ForwardRun(twin, twin), *self._of_model(twin, circuits)]
            runs += crossed(twin, [*self.nodes, *self.latents]) if twin in self.crossed else []
        return runs

    def _of_model(self, model: str, circuits: Mapping[str, ChosenCircuit]) -> list[ForwardRun]:
        """Every node swapped, and every circuit alone: each size, as many drawn
        nodes, and none at all."""
        found = swapped(model, [*self.nodes, *self.latents])
        found.append(circuit(model, NOTHING, [], self.every))
        for one in circuits.values():
            sizes = {*sizes_of(len(self.every)), *(other.size for other in circuits.values())}
            found += [
                circuit(model, one.named(size), one.first(size), self.every)
                for size in sorted(sizes)
            ]
            found.append(circuit(model, one.named_random, one.random(self.seed), self.every))
        return found

    def _swept(
        self,
        runs: Sequence[ForwardRun],
        tasks: Sequence[TaskPrompts],
        *,
        choosing: bool,
        twins: Mapping[str, SweptModel] | None = None,
    ) -> PairSweep:
        return PairSweep(
            self.layout,
            twins or {},
            runs,
            tasks,
            choosing=choosing,
            room=self.room,
        )

    def _scores(self, sweep: PairSweep) -> PairScoresOf:
        total = sum(batch.tokens.numel() for batch in sweep.sweep.batches)
        if not total:
            return {}
        cost = int(sweep.sweep.forwards() * total * self.layout.depth)
        with ProgressBar("circuits", "tokens through a block", cost) as bar:
            return sweep.scores(bar.add)
