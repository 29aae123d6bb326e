"""The geometry analysis, of activations: where do the twin's point, and how far off are they?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from bitlens.analyses import written
from bitlens.analyses.correlation import normalised
from bitlens.analyses.known import ANALYSES
from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import ActivationPair
from bitlens.engine.analysis import (
    CUMULATIVE,
    LOCAL,
    Analysis,
    ReadRequest,
    Results,
    Sample,
    SampleSize,
)
from bitlens.engine.gram import Gram
from bitlens.models.sites import WRITTEN, site
from bitlens.models.written import written_sites
from bitlens.results.records import Metric, MetricResult

if TYPE_CHECKING:
    from bitlens.models.layout import Layout

FORM = 2
"""Of what a cell holds; counted up with it, so that one of an earlier form is made again."""
UNCHANGED = "the twin is equal to the reference here: there is no error"


@ANALYSES.register("geometry")
@dataclass(frozen=True)
class Geometry(Analysis):
    """Angles, distances and similarity at the output of every block, attention and MLP.

    Cumulative: the twin as it runs. Local: the twin's block on the reference's input, so that
    only this block's error is seen.
    """

    name: ClassVar[str] = "geometry"
    by_category: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "cosine",
            "Do the activations point the same way? Mean cosine over positions.",
            unit="",
            worse="lower",
            intact=1.0,
            scale="atanh",
        ),
        Metric(
            "l2",
            "How far apart are the activations? Mean Euclidean distance over positions.",
            unit="activation units",
            worse="higher",
            intact=0.0,
            scale="log",
        ),
        Metric(
            "relative_error",
            "How large is the error beside the activations? Root of the ratio of energies.",
            unit="share",
            worse="higher",
            intact=0.0,
            scale="log",
        ),
        Metric(
            "sqnr",
            "How far above the error does the signal stand? 10 log10 of the ratio of energies.",
            unit="dB",
            worse="lower",
            intact=None,
        ),
        Metric(
            "pearson",
            "Do the activations vary alike over dimensions? Mean correlation over positions.",
            unit="",
            worse="lower",
            intact=1.0,
            scale="atanh",
        ),
        Metric(
            "cka",
            "Do positions relate to each other alike? Debiased linear CKA of up to 512 sampled "
            "positions.",
            unit="",
            worse="lower",
            intact=1.0,
            scale="log1m",
            source="Kornblith et al. 2019; unbiased HSIC of Song et al. 2012",
        ),
        Metric(
            "massive_share",
            "Is the error where the activations are massive? Share of the error's energy in the "
            "1 % of dimensions where the reference has most energy.",
            unit="share",
            worse=None,
            intact=None,
            scale="logit",
            source="massive activations: Sun et al. 2024, arXiv 2402.17762",
        ),
        *written.METRICS,
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The form of a cell; all else that decides is fixed."""
        return {"form": FORM}

    def reads(self, layout: "Layout") -> list[ReadRequest]:
        """Every block's stream, attention and MLP output, and what its heads write, as the twin
        runs and block by block."""
        kinds = ("resid", "attn", "mlp")
        sites = tuple(f"{kind}.{n}" for n in range(layout.depth) for kind in kinds)
        heads = tuple(written_sites(layout))
        return [
            ReadRequest(sites=of, item=item, sample=SampleSize(most), selectable=True)
            for of, most in ((sites, 512), (heads, 128))
            for item in (CUMULATIVE, LOCAL)
            if of
        ]

    def metrics_at(self, place: str) -> tuple[Metric, ...]:
        """Of what heads write, the metrics of single heads; elsewhere the others."""
        by_head = site(place).kind == WRITTEN
        return tuple(m for m in self.metrics if (m in written.METRICS) == by_head)

    def update(self, pair: ActivationPair) -> Accumulator:
        """Sums over positions: `[shards]` each, of squares (error, energy) `[shards, width]`; of
        what heads write, head by head."""
        if site(pair.site).kind == WRITTEN:
            return written.sums_by_head(pair)
        x, y, at = pair.reference, pair.twin, pair.positions
        width = x.values.shape[-1]
        error = y.values - x.values
        inner = torch.linalg.vecdot(x.values, y.values)
        distance = torch.linalg.vecdot(error, error).sqrt()
        covariance = inner - width * x.mean * y.mean
        spread = (x.square - width * x.mean**2, y.square - width * y.mean**2)
        columns = torch.stack(
            [
                torch.ones_like(inner),
                normalised(inner, x.square, y.square),
                distance,
                normalised(covariance, *spread),
            ],
            dim=1,
        )
        count, cosine, l2, pearson = at.total(columns).unbind(1)
        return Accumulator(
            sums={
                "count": count,
                "cosine": cosine,
                "l2": l2,
                "pearson": pearson,
                "error": at.total(error.square_()),
                "energy": at.total(x.values.square()),
            }
        )

    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        """Every metric of one site; those that divide by a zero have a reason and no value."""
        if state.has(written.ERROR):
            return written.results_by_head(state)
        count = state.sum("count")
        error, energy = state.sum("error"), state.sum("energy")
        all_error, all_energy = error.sum(axis=1), energy.sum(axis=1)
        outcomes: Results = [
            MetricResult(m, state.sum(m) / count) for m in ("cosine", "l2", "pearson")
        ]
        outcomes.append(_cka(reference, twin, state.weights))
        massive = np.argsort(-energy[0])[: max(1, energy.shape[1] // 100)]
        chance = len(massive) / energy.shape[1]
        if not np.all(all_energy > 0):
            reason = "the reference is zero here"
            return [*outcomes, *(MetricResult(m, None, reason=reason) for m in _RATIOS)]
        outcomes.append(MetricResult("relative_error", np.sqrt(all_error / all_energy)))
        if not np.all(all_error > 0):
            return [*outcomes, *(MetricResult(m, None, reason=UNCHANGED) for m in _RATIOS[1:])]
        return [
            *outcomes,
            MetricResult("sqnr", 10 * np.log10(all_energy / all_error)),
            MetricResult("massive_share", error[:, massive].sum(axis=1) / all_error, chance=chance),
        ]


_RATIOS = ("relative_error", "sqnr", "massive_share")


def _cka(reference: Sample, twin: Sample, weights: np.ndarray) -> MetricResult:
    if np.min(weights @ np.bincount(twin.shard, minlength=weights.shape[1])) < 4:
        return MetricResult("cka", None, reason="fewer than 4 sampled positions")
    value = debiased_cka(reference.gram, twin.gram, weights)
    if value is None:
        return MetricResult("cka", None, reason="the sampled activations do not vary")
    return MetricResult("cka", value)


def debiased_cka(a: Gram, b: Gram, weights: np.ndarray) -> np.ndarray | None:
    """Linear CKA from unbiased HSIC under each row of shard weights.

    `a`, `b`: of the same `n` positions in the same shards; `weights`: `[r, shards]`; result `[r]`,
    or None where an HSIC is not positive. Leaving shards out costs no new Gram matrix: sums over
    blocks of shards are enough. Intact 1, chance 0 (independent data, any width). Source: Song et
    al. 2012 (unbiased HSIC), Kornblith et al. 2019 (CKA).
    """
    weights = weights[:, : len(a.members)]
    by_row = weights[:, a.shard]
    n = by_row.sum(axis=1)

    def total(blocks: np.ndarray) -> np.ndarray:
        """w' B w of the sums over blocks of shards, for every row of weights."""
        return np.asarray((weights @ blocks * weights).sum(axis=1))

    def hsic(x: Gram, y: Gram, squares: np.ndarray) -> np.ndarray:
        mixed = ((weights @ x.by_shard) * (weights @ y.by_shard) * by_row).sum(axis=1)
        product = total(x.blocks) * total(y.blocks) / ((n - 1) * (n - 2))
        return np.asarray((total(squares) + product - 2 * mixed / (n - 2)) / (n * (n - 3)))

    own_a, own_b = hsic(a, a, a.squares), hsic(b, b, b.squares)
    if not (np.all(own_a > 0) and np.all(own_b > 0)):
        return None
    return np.asarray(hsic(a, b, a.blocks_with(b)) / np.sqrt(own_a * own_b))
