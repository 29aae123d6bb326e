"""The routing analysis: is every token of a mixture of experts still sent where it was, and if the
twin is worse, is it the routing or the experts?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.known import ANALYSES
from bitlens.analyses.routing import metrics
from bitlens.analyses.routing.decisions import (
    Decision,
    agreement,
    decision_sums,
    exact,
    load_results,
    margin_results,
    margin_sums,
    overlap_results,
)
from bitlens.analyses.routing.outputs import output_results, output_sums
from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.engine.analysis import (
    CUMULATIVE,
    LOCAL,
    TWIN,
    Branch,
    BranchAnalysis,
    CorpusReader,
    ReadRequest,
    Requirement,
    Results,
    Sample,
    SampleSize,
)
from bitlens.engine.interventions import Intervention, taken
from bitlens.engine.runs import REFERENCE
from bitlens.models.expert_routing import EXPERTS, ROUTER
from bitlens.models.sites import site
from bitlens.results.records import DetailTable, Metric, MetricResult

if TYPE_CHECKING:
    from bitlens.models.layout import Layout

FORM = 1
"""Of what a cell holds; counted up with it, so that one of an earlier form is made again."""
FORKED = "the other's routing"
BOTH = ("reference", "twin")
UNHARMED = "the twin's predictions are the reference's: there is nothing to repair"


@ANALYSES.register("routing")
@dataclass(frozen=True)
class RoutingAgreement(BranchAnalysis):
    """Routers and experts of every block that has them, as the twin runs, block by block on the
    reference's input, and in both models under the other's routing.

    Cumulative: whatever the twin's hidden states have become. Local: a router on the reference's
    own input to the MLP, so that only its own weights count, and experts on that input and under
    the reference's routing. Unit: documents.
    """

    name: ClassVar[str] = "routing"
    requires: ClassVar[frozenset[Requirement]] = frozenset({"routers"})
    unpaired: ClassVar[frozenset[str]] = frozenset({"load_tv", "load_shift", "shift_rate"})
    metrics: ClassVar[tuple[Metric, ...]] = (
        *metrics.OF_ROUTERS,
        *metrics.OF_LOADS,
        *metrics.OF_EXPERTS,
        *metrics.OF_RUNS,
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The form of a cell; all else that decides is fixed."""
        return {"form": FORM}

    def metrics_at(self, place: str) -> tuple[Metric, ...]:
        """Of routers, of experts, or of predictions."""
        kind = site(place).kind
        if kind == EXPERTS:
            return metrics.OF_EXPERTS
        return (*metrics.OF_ROUTERS, *metrics.OF_LOADS) if kind == ROUTER else metrics.OF_RUNS

    def reads(self, layout: "Layout") -> list[ReadRequest]:
        """Routers as the twin runs and on the reference's input, experts on that and under its
        routing, and predictions of both models under the other's; nothing of a model without."""
        depths = [n for n, block in enumerate(layout.block_layouts) if block.routing]
        if not depths:
            return []
        routers, experts = (tuple(f"{kind}.{n}" for n in depths) for kind in (ROUTER, EXPERTS))
        return [
            ReadRequest(sites=routers, sample=SampleSize(512)),
            ReadRequest(sites=routers, item=LOCAL, given=("attn",)),
            ReadRequest(sites=experts, item=LOCAL, given=("attn", ROUTER)),
            ReadRequest(
                sites=("logits",),
                branches=(
                    _under("twin", routers, REFERENCE),
                    _under("reference", routers, TWIN),
                ),
            ),
        ]

    def reduce_branch(
        self,
        activations: Activations,
        positions: Positions,
        reference: Activations,
    ) -> Tensor:
        """`[n]`: the KL divergence of its predictions from the reference's."""
        return reference.divergence(activations).clamp_min(0)

    def update(self, pair: ActivationPair) -> Accumulator:
        """Sums over tokens, by shard."""
        at, kind = pair.positions, site(pair.site).kind
        if kind == EXPERTS:
            return Accumulator(sums=output_sums(pair))
        if kind == ROUTER:
            both = Decision.of(pair.reference), Decision.of(pair.twin)
            of_margins = margin_sums(*both, at) if pair.item == CUMULATIVE else {}
            return Accumulator(sums=decision_sums(*both, at) | of_margins)
        sums = {"damage": at.total(pair.reference.divergence(pair.twin).clamp_min(0))}
        sums |= {of: at.total(pair.branches[who]) for who, of in _OF_BRANCH.items()}
        return Accumulator(sums=sums | {"predicted": at.total(torch.ones_like(at.target))})

    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        """Every metric of a site; what cannot be said has a reason."""
        if state.has("error_of_each"):
            return output_results(state)
        if state.has("predicted"):
            return _run_results(state)
        found = overlap_results(state)
        if state.has("in_band"):
            found += [*load_results(state), *margin_results(state)]
        return found

    def compute_overall(self, sites: Mapping[str, ReplicateState], texts: CorpusReader) -> Results:
        """Means over all blocks of the twin as it runs, and every expert's tokens."""
        routers = {name: state for name, state in sites.items() if state.has("in_band")}
        if not routers:
            return []
        found: Results = [
            MetricResult(
                name, np.mean([of(state) for state in routers.values()], axis=0), site=ROUTER
            )
            for name, of in (("agreement", agreement), ("exact", exact))
        ]
        return [*found, _experts(routers)]


_OF_BRANCH = {f"twin {FORKED}": "damage_weights", f"reference {FORKED}": "damage_routing"}


def _under(model: Literal["reference", "twin"], routers: Sequence[str], source: str) -> Branch:
    """A model whose tokens are sent, in every block, where another run sends them."""
    # Positions that do not count are read by those that do.
    forced = (
        Intervention(site=name, change=taken, source=source, positions="every") for name in routers
    )
    return Branch(model, FORKED, tuple(forced))


def _run_results(state: ReplicateState) -> Results:
    """Both models' divergences from the reference, and what the reference's routing repairs."""
    count = state.sum("predicted")
    found = {
        name: state.sum(name) / count for name in ("damage", "damage_weights", "damage_routing")
    }
    results: Results = [MetricResult(name, values) for name, values in found.items()]
    if not np.all(found["damage"] > 0):
        return [*results, MetricResult("repaired", None, reason=UNHARMED)]
    return [*results, MetricResult("repaired", 1 - found["damage_weights"] / found["damage"])]


def _experts(routers: Mapping[str, ReplicateState]) -> DetailTable:
    """How many tokens each expert of each block gets in both models."""
    tokens = {who: [s.value(f"load_{who}") for s in routers.values()] for who in BOTH}
    numbers = [len(of) for of in tokens["reference"]]
    blocks = [site(name).depth for name in routers]
    return DetailTable(
        "experts",
        {
            "block": np.repeat(blocks, numbers),
            "expert": np.concatenate([np.arange(n) for n in numbers]),
            **{
                f"tokens_{who}": np.concatenate(of).round().astype(np.int64)
                for who, of in tokens.items()
            },
        },
    )
