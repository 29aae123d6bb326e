"""The behaviour analysis, of predictions: does the twin predict the same next tokens?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.known import ANALYSES
from bitlens.analyses.predictions import PREDICTIONS, bytes_kept, predictions, told
from bitlens.engine.accumulators import Accumulator, DocumentSums, ReplicateState, SampledRows
from bitlens.engine.activations import ActivationPair, Positions
from bitlens.engine.analysis import (
    Analysis,
    AnalysisContext,
    ReadRequest,
    Results,
    Sample,
    SampleSize,
)
from bitlens.results.records import DetailTable, Metric, MetricResult

if TYPE_CHECKING:
    from bitlens.models.layout import Layout

KL_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
DP_QUANTILES = {"p01": 0.01, "p05": 0.05, "p50": 0.5, "p95": 0.95, "p99": 0.99}

DOCUMENTS = "documents"
"""The table of every document: how far its predictions are apart."""

_LLAMA_CPP = "as in llama.cpp's perplexity --kl-divergence"


@ANALYSES.register("behaviour")
@dataclass(frozen=True)
class Behaviour(Analysis):
    """Perplexity, KL divergence and token agreement at every counted position.

    KL is of the reference from the twin, KL(reference || twin) in nats, from float32
    log-probabilities over the whole vocabulary. Intact 0; chance: the reference at one position
    against the twin at another. Definitions as in llama.cpp's KL-divergence table; flips as in
    Dutta et al. 2024 (arXiv 2407.09141), per token.
    """

    positions: int | None = None
    """How many positions of the corpus count; None: not known, and no predictions are kept."""

    name: ClassVar[str] = "behaviour"
    by_category: ClassVar[bool] = True
    outputs: ClassVar[bool] = True
    kept: ClassVar[int] = 1 << 20
    """Positions whose own numbers are kept, for percentiles."""
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "perplexity",
            "How surprised is the model by the text?",
            unit="",
            worse="higher",
            intact=None,
            scale="log",
            level=True,
            source="exp of the mean negative log-likelihood",
        ),
        Metric(
            "perplexity_ratio",
            "How many times as surprised is the twin as the reference?",
            unit="",
            worse="higher",
            intact=1.0,
            scale="log",
            source=_LLAMA_CPP,
        ),
        Metric(
            "kl",
            "How far is the twin's next-token distribution from the reference's, on average?",
            unit="nats",
            worse="higher",
            intact=0.0,
            scale="log",
            source="Kullback and Leibler 1951; " + _LLAMA_CPP,
        ),
        *(
            Metric(
                f"kl_{name}",
                f"Below what do {100 * q:g} % of the positions' KL divergences lie?",
                unit="nats",
                worse="higher",
                intact=0.0,
                scale="log",
                quantile=q,
                source=_LLAMA_CPP,
            )
            for name, q in KL_QUANTILES.items()
        ),
        Metric(
            "kl_max",
            "How large is the KL divergence where it is largest?",
            unit="nats",
            worse="higher",
            intact=0.0,
            interval=False,
            source=_LLAMA_CPP,
        ),
        Metric(
            "dp",
            "How does the probability of the true next token change, on average?",
            unit="probability",
            worse="lower",
            intact=0.0,
            source=_LLAMA_CPP,
        ),
        Metric(
            "dp_rms",
            "How much does the probability of the true next token move, either way?",
            unit="probability",
            worse="higher",
            intact=0.0,
            scale="log",
            source=_LLAMA_CPP,
        ),
        *(
            Metric(
                f"dp_{name}",
                f"Below what do {100 * q:g} % of the changes of the true next token's "
                "probability lie?",
                unit="probability",
                worse=None,
                intact=0.0,
                quantile=q,
                source=_LLAMA_CPP,
            )
            for name, q in DP_QUANTILES.items()
        ),
        Metric(
            "same_top",
            "How often do both models think the same token most likely?",
            unit="share",
            worse="lower",
            intact=1.0,
            scale="logit",
            source=_LLAMA_CPP,
        ),
        Metric(
            "flips",
            "How often does the most likely token turn from right to wrong or from wrong to right?",
            unit="share",
            worse="higher",
            intact=0.0,
            scale="logit",
            source="Dutta et al. 2024, arXiv 2407.09141, applied to tokens",
        ),
    )

    @classmethod
    def create(cls, context: AnalysisContext) -> Self:
        """With predictions kept where the text is short enough."""
        return cls(context.positions)

    @property
    def settings(self) -> dict[str, Any]:
        """None: what is kept changes no value."""
        return {}

    @property
    def kept_bytes(self) -> int:
        """Those of the predictions that are kept at every position."""
        return bytes_kept(self.positions or 0)

    def reads(self, layout: "Layout") -> list[ReadRequest]:
        """The logits; 128 positions are kept for chance."""
        return [ReadRequest(sites=("logits",), sample=SampleSize(128))]

    def update(self, pair: ActivationPair) -> Accumulator:
        """Sums over positions, `[shards]` each and by document, the largest KL, and what
        percentiles are of."""
        reference, twin, at = pair.reference, pair.twin, pair.positions
        p, q = reference.log_probabilities, twin.log_probabilities
        kl = reference.divergence(twin)
        target = at.target[:, None]
        true_p, true_q = p.gather(1, target)[:, 0], q.gather(1, target)[:, 0]
        dp = true_q.exp() - true_p.exp()
        right_p, right_q = reference.top == at.target, twin.top == at.target
        columns = {
            "count": torch.ones_like(kl),
            "kl": kl,
            "surprise_reference": -true_p,
            "surprise_twin": -true_q,
            "dp": dp,
            "dp_square": dp.double().square(),
            "same_top": reference.top == twin.top,
            "flips": right_p != right_q,
        }
        stacked = at.total(torch.stack([c.double() for c in columns.values()], dim=1))
        chosen = torch.nonzero(at.key <= pair.threshold(self.kept)).flatten()
        rows = {"positions": [_own_rows(at, chosen, kl=kl, dp=dp)]}
        if self.kept_bytes:
            rows[PREDICTIONS] = [predictions(pair, kl)]
        changed = reference.top != twin.top
        by_document = {"count": columns["count"], "kl": kl, "changed": changed}
        # Of a run that stops early, which looks at documents.
        by_document["surprise"] = true_p - true_q
        return Accumulator(
            sums=dict(zip(columns, stacked.unbind(1), strict=True)),
            documents={DOCUMENTS: [DocumentSums.of(at.document, at.shard, by_document)]},
            largest={"kl": at.largest(kl)},
            rows=rows,
        )

    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        """Perplexities, means over positions, the largest KL, percentiles of what was kept; and the
        tables of documents, by number, and of predictions, where they were kept."""
        count = state.sum("count")
        surprise = {m: state.sum(f"surprise_{m}") / count for m in ("reference", "twin")}
        outcomes: Results = [
            MetricResult("perplexity", np.exp(surprise["reference"]), item="reference"),
            MetricResult("perplexity", np.exp(surprise["twin"]), item="twin"),
            MetricResult("perplexity_ratio", np.exp(surprise["twin"] - surprise["reference"])),
            MetricResult("dp_rms", np.sqrt(state.sum("dp_square") / count)),
            MetricResult("kl_max", np.full(1, state.largest("kl"))),
        ]
        outcomes += [
            MetricResult(name, state.sum(name) / count)
            for name in ("kl", "dp", "same_top", "flips")
        ]
        rows = state.rows("positions")
        assert rows is not None
        shard, values = rows
        for column, quantiles in (("kl", KL_QUANTILES), ("dp", DP_QUANTILES)):
            at = weighted_quantiles(
                values[column], shard, state.weights, np.array(list(quantiles.values()))
            )
            outcomes += [
                MetricResult(f"{column}_{name}", at[:, i]) for i, name in enumerate(quantiles)
            ]
        return [*outcomes, _documents(state), *told(state)]


def _own_rows(at: Positions, chosen: Tensor, **columns: Tensor) -> SampledRows:
    values = {name: of[chosen] for name, of in columns.items()}
    return SampledRows(at.key[chosen], at.shard[chosen], values)


def _documents(state: ReplicateState) -> DetailTable:
    """One row a document: its mean KL, how many positions of it count, and at how many another
    token comes first."""
    number, shard, sums = state.documents(DOCUMENTS)
    columns = {
        "number": number,
        "shard": shard,
        "positions": sums["count"].astype(np.int64),
        "kl": sums["kl"] / sums["count"],
        "changed": sums["changed"].astype(np.int64),
    }
    return DetailTable(DOCUMENTS, columns)


def weighted_quantiles(
    values: np.ndarray, shard: np.ndarray, weights: np.ndarray, q: np.ndarray
) -> np.ndarray:
    """Quantiles under each row of weights: `[n]`, `[n]`, `[r, shards]`, `[k]` to `[r, k]`.

    The inverse of the empirical distribution (Hyndman and Fan 1996, type 1).
    """
    order = np.argsort(values, kind="stable")
    ordered, shard = values[order], shard[order]
    out = np.empty((len(weights), len(q)))
    for r, row in enumerate(weights):
        # A row at a time: the weights of every value in every replicate would not fit.
        reached = np.cumsum(row[shard])
        # The tolerance keeps q * n from overshooting a whole number by rounding.
        at = np.searchsorted(reached, q * reached[-1] * (1 - 1e-12))
        out[r] = ordered[np.minimum(at, len(ordered) - 1)]
    return out
