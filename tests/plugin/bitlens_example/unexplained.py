from dataclasses import dataclass
from typing import Any, ClassVar, Self

from bitlens.analyses import ANALYSES
from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import ActivationPair
from bitlens.engine.analysis import Analysis, AnalysisContext, ReadRequest, Results, Sample
from bitlens.models.layout import Layout
from bitlens.results.records import Metric, MetricResult
from bitlens.sae.placed_sae import PlacedSae


@ANALYSES.register("unexplained")
@dataclass(frozen=True)
class Unexplained(Analysis):
    """How much more of the twin than of the reference does an SAE leave unexplained?"""

    saes: tuple[PlacedSae, ...] = ()
    name: ClassVar = "unexplained"
    requires: ClassVar = frozenset({"saes"})
    metrics: ClassVar = (
        Metric("ratio", "Error, twin over reference.", unit="", worse="higher", intact=1.0),
    )

    @classmethod
    def create(cls, context: AnalysisContext) -> Self:
        return cls(context.saes)

    @property
    def settings(self) -> dict[str, Any]:
        return {placed.site: placed.sae.fingerprint for placed in self.saes}

    def reads(self, layout: Layout) -> list[ReadRequest]:
        return [ReadRequest(sites=tuple(placed.site for placed in self.saes))]

    def update(self, pair: ActivationPair) -> Accumulator:
        sae = next(placed.sae for placed in self.saes if placed.site == pair.site)
        sides = {"reference": pair.reference.values, "twin": pair.twin.values}
        errors = ((n, x, x - sae.decode(sae.codes(x))) for n, x in sides.items())
        sums = {n: pair.positions.total(e.norm(dim=1) / x.norm(dim=1)) for n, x, e in errors}
        return Accumulator(sums=sums)

    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        return [MetricResult("ratio", state.sum("twin") / state.sum("reference"))]
