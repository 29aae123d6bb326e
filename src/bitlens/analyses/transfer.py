"""The transfer analysis, of losses with an SAE spliced in: what does its reconstruction cost?

Not how well activations are described but whether what the model needs of them is: the SAE is
spliced into the reference and into the twin, each of which goes on from there, and each is held
against its own clean loss.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.known import ANALYSES
from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.engine.analysis import (
    AnalysisContext,
    Branch,
    BranchAnalysis,
    ReadRequest,
    Requirement,
    Results,
    Sample,
)
from bitlens.engine.interventions import Intervention, constant
from bitlens.results.records import Metric, MetricResult
from bitlens.sae.interventions import reconstructed
from bitlens.sae.placed_sae import PlacedSae

if TYPE_CHECKING:
    from bitlens.models.layout import Layout

_SOURCE = "Gao et al. 2024, arXiv 2406.04093, section 4.1; with the mean in the place of zero"

METRICS = (
    Metric(
        "loss_recovered",
        "What share of the loss that an average activation in its place costs does the SAE's "
        "reconstruction save, each model against its own clean loss?",
        unit="share",
        worse="lower",
        intact=None,
        level=True,
        source=_SOURCE,
    ),
    Metric(
        "loss_added",
        "How much worse does the model predict with the reconstruction in place?",
        unit="nats",
        worse="higher",
        intact=None,
        level=True,
    ),
    Metric(
        "loss_at_stake",
        "How much worse does it predict with the reference's mean activation in place?",
        unit="nats",
        worse=None,
        intact=None,
        level=True,
    ),
    Metric(
        "recovered_difference",
        "How much less of it does the SAE save in the twin than in the reference?",
        unit="share",
        worse="higher",
        intact=0.0,
    ),
    Metric(
        "added_difference",
        "How much more does the splice cost the twin than the reference?",
        unit="nats",
        worse="higher",
        intact=0.0,
    ),
)


@ANALYSES.register("transfer")
@dataclass(frozen=True)
class Transfer(BranchAnalysis):
    """The SAE spliced into both models, at every position that counts, beside mean ablation.

    With the cross-entropies CE of a model's predictions, loss recovered is (CE_mean - CE_sae) /
    (CE_mean - CE_clean): 1 where the reconstruction does no harm, 0 where it is worth no more than
    the mean. On the documents that branches run on.
    """

    saes: tuple[PlacedSae, ...] = ()

    name: ClassVar[str] = "transfer"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    requires: ClassVar[frozenset[Requirement]] = frozenset({"saes"})

    @classmethod
    def create(cls, context: AnalysisContext) -> Self:
        """Every SAE, spliced in where it was placed."""
        return cls(context.saes)

    @property
    def settings(self) -> dict[str, Any]:
        """Every SAE's site, fingerprint and that of its adapted form, if any, by its label."""
        return {
            p.sae.label: [p.site, p.sae.fingerprint, p.adapted.fingerprint if p.adapted else ""]
            for p in self.saes
        }

    def reads(self, layout: "Layout") -> list[ReadRequest]:
        """The logits, also of both models with every SAE, and every mean, in its place."""
        branches = (*self._branches("reference"), *self._branches("twin"))
        return [ReadRequest(sites=("logits",), branches=branches)]

    def _branches(self, model: Literal["reference", "twin"]) -> list[Branch]:
        """The mean at every site where an SAE is, and every SAE, in their place."""
        found = {}
        for placed in self.saes:
            sae = placed.adapted if model == "twin" and placed.adapted else placed.sae
            for name, change in (
                (_mean_at(placed.site), constant(placed.mean_activation)),
                (placed.sae.label, reconstructed(sae)),
            ):
                intervention = Intervention(site=placed.site, change=change)
                found[name] = Branch(model, name, (intervention,))
        return list(found.values())

    def reduce_branch(
        self, activations: Activations, positions: Positions, _: Activations
    ) -> Tensor:
        """`[n]`: the loss at every position."""
        return _loss(activations, positions.target)

    def update(self, pair: ActivationPair) -> Accumulator:
        """Sums of the loss over positions, `[shards]` each: clean ones and one a branch."""
        at = pair.positions
        sums = {"count": at.total(torch.ones(len(at), device=at.target.device))}
        for who, activations in {"reference": pair.reference, "twin": pair.twin}.items():
            sums[who] = at.total(activations.once("loss", partial(_loss, activations, at.target)))
        for who, loss in pair.branches.items():
            sums[who] = at.total(loss)
        return Accumulator(sums=sums)

    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        """Loss recovered, added and at stake of every SAE in both models, and their differences."""
        found: Results = []
        for placed in self.saes:
            label = placed.sae.label
            recovered, added = {}, {}
            for who in ("reference", "twin"):
                item = f"{label}, {who}"
                clean, spliced, mean = (
                    state.sum(name) / state.sum("count")
                    for name in (who, f"{who} {label}", f"{who} {_mean_at(placed.site)}")
                )
                added[who] = spliced - clean
                found.append(MetricResult("loss_added", added[who], item=item))
                found.append(MetricResult("loss_at_stake", mean - clean, item=item))
                recovered[who] = _share(mean - spliced, mean - clean)
                # The mean in its place is chance.
                found.append(_outcome("loss_recovered", recovered[who], item, 0.0))
            lost = None
            if recovered["reference"] is not None and recovered["twin"] is not None:
                lost = recovered["reference"] - recovered["twin"]
            found.append(_outcome("recovered_difference", lost, label))
            found.append(
                MetricResult("added_difference", added["twin"] - added["reference"], item=label)
            )
        return found


def _mean_at(site: str) -> str:
    return f"the mean at {site}"


def _loss(activations: Activations, target: Tensor) -> Tensor:
    """`[n]`: cross-entropy of the next token, nats."""
    return torch.nn.functional.cross_entropy(activations.values, target, reduction="none")


def _share(saved: np.ndarray, stake: np.ndarray) -> np.ndarray | None:
    return saved / stake if np.all(stake > 0) else None


def _outcome(
    metric: str, values: np.ndarray | None, item: str, chance: float | None = None
) -> MetricResult:
    if values is None:
        reason = "the mean in its place costs nothing here, so there is nothing to recover"
        return MetricResult(metric, None, item=item, reason=reason)
    return MetricResult(metric, values, item=item, chance=chance)
