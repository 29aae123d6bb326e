"""Step router: one step's activations into the accumulators of everything that reads them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor

from bitlens.engine.accumulators import Accumulator
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.engine.comparisons import Comparison
from bitlens.engine.keys import Accumulators, LensKey, MetricKey, SampleKey
from bitlens.engine.plan import SUBSET, Plan, TokenBatch
from bitlens.engine.runs import REFERENCE
from bitlens.engine.samples import rows_of, sample_rows
from bitlens.engine.step import Step
from bitlens.engine.sweep import Sweep
from bitlens.models.sites import site


class StepRouter:
    """Knows which comparisons read which runs of a sweep, on which documents of a plan."""

    def __init__(self, sweep: Sweep, wanted: Sequence[Comparison], plan: Plan) -> None:
        self._sweep, self._wanted, self._plan = sweep, wanted, plan

    def route(self, step: Step, accumulators: Accumulators) -> None:
        """Every pair of a step into its accumulator."""
        router = _OneStep(step, self._plan, accumulators)
        for run in step.activations:
            for comparison in self._wanted:
                if comparison.run == run and _reads(comparison, step.batch):
                    if comparison.request.through_unembedding:
                        router.sample_path(comparison)
                    else:
                        router.update(comparison)
            router.forget_twins(self._sweep)


class _OneStep:
    """One step, with what all steps of its batch and depth share."""

    def __init__(self, step: Step, plan: Plan, accumulators: Accumulators) -> None:
        self._step, self._plan, self._accumulators = step, plan, accumulators
        self._flat: dict[tuple[str, str], Activations] = step.shared.setdefault("flat", {})
        """By run and site, at the positions that count: flattened once."""
        self._sampled: set[SampleKey | LensKey] = step.shared.setdefault("sampled", set())
        self._reduced: dict[Any, Tensor] = step.shared.setdefault("branches", {})
        """What analyses make of branches, those of the reference once for all twins."""

    def update(self, comparison: Comparison) -> None:
        """What an analysis adds at every site that is read here, and the samples it asks for."""
        step = self._step
        positions = self._plan.positions_of(step.batch, step.index, comparison.documents)
        if not len(positions):
            return
        for name in comparison.sites:
            if name in step.activations[comparison.run]:
                pair = self._pair(comparison, name, positions)
                analysis = comparison.analysis
                key = MetricKey(analysis.name, comparison.twin, comparison.item, name)
                self._accumulators.setdefault(key, Accumulator()).add(analysis.update(pair))
                self._sample(comparison, name, pair)

    def _pair(self, comparison: Comparison, name: str, positions: Positions) -> ActivationPair:
        documents = self._plan.sets[comparison.documents]
        alone = comparison.alone[name].name if name in comparison.alone else ""
        branches = {
            who: self._branch(comparison, branch.name, name, positions)
            for who, branch in comparison.branches.items()
        }
        return ActivationPair(
            site=name,
            item=comparison.item,
            reference=self._activations(REFERENCE, name),
            twin=self._activations(comparison.run, name),
            positions=positions,
            threshold=partial(documents.threshold, predicting=name == "logits"),
            branches=branches,
            alone=self._activations(alone, name) if name in self._read(alone) else None,
        )

    def _read(self, run: str) -> Any:
        return self._step.activations.get(run, {})

    def _activations(self, run: str, name: str) -> Activations:
        if (run, name) not in self._flat:
            self._flat[(run, name)] = _flatten(self._step, run, name)
        return self._flat[(run, name)]

    def _branch(
        self, comparison: Comparison, branch: str, name: str, positions: Positions
    ) -> Tensor:
        """What an analysis makes of a branch: once for all twins, and what was read is let go."""
        key = (comparison.analysis.name, branch, comparison.documents, name)
        if key not in self._reduced:
            read = _flatten(self._step, branch, name)
            reference = self._activations(REFERENCE, name)
            self._reduced[key] = comparison.of_branches.reduce_branch(read, positions, reference)
        return self._reduced[key]

    def _sample(self, comparison: Comparison, name: str, pair: ActivationPair) -> None:
        size = comparison.request.sample.most
        for run in comparison.runs if size else ():
            key = sample_key(comparison, run, name)
            if key not in self._sampled:
                self._sampled.add(key)
                # Of logits, the states they are made of: a vocabulary is much wider than a model.
                read = self._activations(run, "final" if name == "logits" else name)
                rows = Accumulator(rows={"sample": [sample_rows(pair, read, size)]})
                self._accumulators.setdefault(key, Accumulator()).add(rows)

    def sample_path(self, comparison: Comparison) -> None:
        """The states of a lens' sample, which wait for the unembedding until all are there."""
        batch = self._step.batch
        documents = self._plan.sets[comparison.documents]
        size = comparison.request.sample.of(len(documents.keys.predicting))
        index = batch.logits_index
        chosen = index[batch.key[index] <= documents.threshold(size, predicting=True)]
        for run in comparison.runs:
            for name in comparison.sites:
                key = LensKey(comparison.analysis.name, run, name)
                if name in self._step.activations[run] and key not in self._sampled:
                    self._sampled.add(key)
                    states = self._step.activations[run][name].flatten(0, 1)[chosen]
                    at = self._plan.positions_of(batch, chosen, comparison.documents)
                    rows = Accumulator(rows={"sample": [rows_of(at, states)]})
                    self._accumulators.setdefault(key, Accumulator()).add(rows)

    def forget_twins(self, sweep: Sweep) -> None:
        """Only what is read of the reference and its branches serves more than one twin."""
        for key in [key for key in self._flat if sweep.group(key[0]) != REFERENCE]:
            del self._flat[key]


def sample_key(comparison: Comparison, run: str, name: str) -> SampleKey:
    """Under what the sample of one run of a comparison is kept, at one site."""
    return SampleKey(str(comparison.request.sample.most), run, comparison.documents, name)


def _reads(comparison: Comparison, batch: TokenBatch) -> bool:
    """Whether a batch's documents are of the set that is compared on."""
    subset = comparison.documents == SUBSET
    return comparison.read == batch.documents and (batch.subset or not subset)


def _flatten(step: Step, run: str, name: str) -> Activations:
    values = step.activations[run][name]
    if name not in ("logits", "final"):
        if site(name).kind == "pattern":
            return Activations(values.float(), step.index)
        values = values.flatten(0, 1)[step.index.to(values.device)]
    # Final states go back through the unembedding, in their own dtype.
    return Activations(values if name == "final" else values.float())
