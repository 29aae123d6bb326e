from dataclasses import dataclass
from typing import ClassVar

from bitlens.analyses import ANALYSES
from bitlens.engine.accumulators import Accumulator
from bitlens.engine.analysis import Analysis, ReadRequest
from bitlens.results.records import Metric, MetricResult


@ANALYSES.register("energy")
@dataclass(frozen=True)
class Energy(Analysis):
    """How much longer are the twin's hidden states than the reference's?"""

    name: ClassVar = "energy"
    metrics: ClassVar = (Metric("ratio", "Twin over reference.", unit="", worse=None, intact=1.0),)

    def reads(self, layout):
        return [ReadRequest(sites=("resid.1",))]

    def update(self, pair):
        sides = {"reference": pair.reference, "twin": pair.twin}
        return Accumulator(sums={n: pair.positions.total(x.square) for n, x in sides.items()})

    def compute(self, state, reference, twin):
        return [MetricResult("ratio", state.sum("twin") / state.sum("reference"))]
