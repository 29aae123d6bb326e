"""The logit lens analysis: does what the model is about to say take shape in the same blocks?"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.known import ANALYSES
from bitlens.engine.accumulators import Accumulator, ReplicateState, SampledRows
from bitlens.engine.activations import ActivationPair, Activations
from bitlens.engine.analysis import (
    Analysis,
    CorpusReader,
    ReadRequest,
    Results,
    Sample,
    SampleSize,
)
from bitlens.models.sites import all_sites
from bitlens.results.records import DetailTable, Metric, MetricResult

if TYPE_CHECKING:
    from bitlens.models.layout import Layout

SHARE, FEWEST, MOST = 32, 128, 1024
"""One position in thirty-two is looked at, but so many at least and at most: the unembedding at
every block of every position would cost several times the model."""
SAMPLE = SampleSize(MOST, one_in=SHARE, fewest=FEWEST)
PATHS = 8
"""Positions whose way through the blocks is shown: half where the twin ends farthest from the
reference, half of the others."""
FORM = 2
"""Of what a cell holds; counted up with it, so that one of an earlier form is made again."""
BEFORE = 12
"""Tokens of text shown before a position."""

_LENS = "logit lens: nostalgebraist 2020"
_BOTH = ("reference", "twin")


@ANALYSES.register("lens")
@dataclass(frozen=True)
class Lens(Analysis):
    """Next-token distributions read off every block through the final norm and unembedding, at
    sampled positions; each model through its own.

    From float32 log-probabilities. Intact: both lenses say the same at every block; chance: the
    reference at one position, the twin at another.
    """

    name: ClassVar[str] = "lens"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "lens_kl",
            "How far apart are the distributions read off this block? Mean KL divergence of the "
            "reference's from the twin's.",
            unit="nats",
            worse="higher",
            intact=0.0,
            scale="log",
            source=_LENS,
        ),
        Metric(
            "lens_same_top",
            "How often does the same token come first at this block?",
            unit="share",
            worse="lower",
            intact=1.0,
            scale="logit",
            source=_LENS,
        ),
        Metric(
            "lens_top5",
            "How many of the five most probable tokens at this block are the same?",
            unit="share",
            worse="lower",
            intact=1.0,
            scale="logit",
            source=_LENS,
        ),
        Metric(
            "target",
            "How probable is the true next token at this block?",
            unit="probability",
            worse="lower",
            intact=None,
            level=True,
            source=_LENS,
        ),
        Metric(
            "target_change",
            "How did the probability of the true next token at this block change?",
            unit="probability",
            worse="lower",
            intact=0.0,
        ),
        Metric(
            "final_rank",
            "At what rank does this block put the token that the same model finally puts first? "
            "Geometric mean.",
            unit="rank",
            worse="higher",
            intact=None,
            scale="log",
            level=True,
            source=_LENS,
        ),
        Metric(
            "first_correct",
            "How much of the depth has passed before the true next token first comes first? 1: it "
            "never does.",
            unit="share of depth",
            worse="higher",
            intact=None,
            level=True,
        ),
        Metric(
            "first_correct_shift",
            "How much later in depth does the true next token first come first?",
            unit="share of depth",
            worse="higher",
            intact=0.0,
        ),
        Metric(
            "divergence",
            "How much of the depth passes before the two lenses first put another token first? 1: "
            "they never do.",
            unit="share of depth",
            worse="lower",
            intact=1.0,
        ),
        Metric(
            "divergence_seed",
            "Which is the first block whose mean KL divergence exceeds that of all blocks?",
            unit="block",
            worse=None,
            intact=None,
            interval=False,
            level=True,
            source="does-quantization-kill-interpretability",
        ),
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The form of a cell; all else that decides is fixed."""
        return {"form": FORM}

    def reads(self, layout: "Layout") -> list[ReadRequest]:
        """The stream after every block, through the unembedding at sampled positions."""
        sites = tuple(all_sites(layout, ("resid",)))
        return [ReadRequest(sites=sites, through_unembedding=True, sample=SAMPLE)]

    def update(self, pair: ActivationPair) -> Accumulator:
        """Sums over positions, `[shards, blocks]`, of depths `[shards]`, and the rows of paths."""
        at = pair.positions
        p, q = pair.reference.log_probabilities, pair.twin.log_probabilities
        kl = pair.reference.divergence(pair.twin)
        five = [r.once("five", partial(_five, r)) for r in (pair.reference, pair.twin)]
        top_p, top_q = (most[..., 0] for most in five)
        same = five[0][..., :, None] == five[1][..., None, :]
        where = at.target[:, None, None].expand(*p.shape[:2], 1)
        target = [lens.gather(2, where)[..., 0].exp() for lens in (p, q)]
        columns = {
            "lens_kl": kl,
            "lens_same_top": top_p == top_q,
            "lens_top5": same.flatten(-2).sum(dim=-1).double() / 5,
            "target_reference": target[0],
            "target_twin": target[1],
            "rank_reference": pair.reference.once(
                "rank", lambda: _log_rank(pair.reference, top_p[:, -1], pair.reference.room)
            ),
            "rank_twin": _log_rank(pair.twin, top_q[:, -1], pair.reference.room),
        }
        sums = {name: at.total(values.double()) for name, values in columns.items()}
        right = {"reference": top_p == at.target[:, None], "twin": top_q == at.target[:, None]}
        depths = {f"first_{who}": _first(seen) for who, seen in right.items()}
        depths |= {"divergence": _first(top_p != top_q), "count": torch.ones(len(at))}
        sums |= {name: at.total(values.to(kl.device)) for name, values in depths.items()}
        paths = {
            "kl": kl,
            "top_reference": top_p,
            "top_twin": top_q,
            "target_reference": target[0],
            "target_twin": target[1],
            "document": at.document,
            "offset": at.offset,
            "target": at.target,
        }
        return Accumulator(sums=sums, rows={"paths": [SampledRows(at.key, at.shard, paths)]})

    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        """Every metric: means by block, ranks, and depths as shares of the blocks."""
        count = state.sum("count")
        mean = {
            name: state.sum(name) / count[:, None]
            for name in ("lens_kl", "lens_same_top", "lens_top5")
        }
        found: Results = []
        for name, values in mean.items():
            found += _by_block(name, values)
        target = {who: state.sum(f"target_{who}") / count[:, None] for who in _BOTH}
        for who in _BOTH:
            found += _by_block("target", target[who], who)
            rank = np.exp(state.sum(f"rank_{who}") / count[:, None])
            found += _by_block("final_rank", rank, who)
        found += _by_block("target_change", target["twin"] - target["reference"])
        first = {who: state.sum(f"first_{who}") / count for who in _BOTH}
        found += [MetricResult("first_correct", first[who], item=who) for who in _BOTH]
        above = mean["lens_kl"][0] > mean["lens_kl"][0].mean()
        if above.any():
            found.append(MetricResult("divergence_seed", np.array([float(above.argmax())])))
        else:
            reason = "no block differs more than all do"
            found.append(MetricResult("divergence_seed", None, reason=reason))
        return [
            *found,
            MetricResult("first_correct_shift", first["twin"] - first["reference"]),
            MetricResult("divergence", state.sum("divergence") / count),
        ]

    def compute_overall(self, sites: Mapping[str, ReplicateState], texts: CorpusReader) -> Results:
        """The table of a few positions' way through the blocks."""
        rows = sites["resid"].rows("paths")
        assert rows is not None
        return [_paths(rows[1], texts)]


def _five(activations: Activations) -> Tensor:
    """`[n, blocks, 5]`: the most probable tokens, the first first."""
    return activations.values.topk(5).indices


def _log_rank(lens: Activations, token: Tensor, room: Tensor) -> Tensor:
    """ln of the rank, from 1, of the token `[n]` that comes first at the last block, at every
    block: `[n, blocks]`. `room`: as large as the logits, to be written over."""
    logits = lens.values
    own = logits.gather(2, token[:, None, None].expand(-1, logits.shape[1], 1))
    # Ones of float32 are counted seven times as fast as truth values, and as exactly.
    return torch.gt(logits, own, out=room).sum(dim=-1).add(1).double().log()


def _first(seen: Tensor) -> Tensor:
    """The share of the depth passed before something is first seen: `[n, blocks]` to `[n]`."""
    depth = seen.shape[1]
    first = torch.where(seen.any(dim=1), seen.int().argmax(dim=1), depth)
    return first.double() / depth


def _by_block(metric: str, values: np.ndarray, item: str = "") -> list[MetricResult]:
    """`[replicates + 1, blocks]`."""
    return [MetricResult(metric, of, item=item, site=f"resid.{n}") for n, of in enumerate(values.T)]


def _paths(rows: Mapping[str, np.ndarray], texts: CorpusReader) -> DetailTable:
    """A few positions' way through the blocks: where the twin ends farthest away, and others."""
    final = rows["kl"][:, -1]
    order = np.argsort(-final, kind="stable")
    farthest = order[: PATHS // 2]
    others = np.setdiff1d(np.arange(len(final)), farthest)[: PATHS - len(farthest)]
    shown = [*farthest, *others]
    blocks = rows["kl"].shape[1]
    columns: dict[str, list[object]] = {}

    def add(**values: object) -> None:
        for name, value in values.items():
            columns.setdefault(name, []).append(value)

    for place, n in enumerate(shown):
        document, offset = int(rows["document"][n]), int(rows["offset"][n])
        about = {
            "place": place,
            "document": texts.document(document),
            "offset": offset,
            "before": texts.before(document, offset, BEFORE),
            "target": texts.token(int(rows["target"][n])),
        }
        for block in range(blocks):
            add(
                **about,
                block=block,
                kl=float(rows["kl"][n, block]),
                top_reference=texts.token(int(rows["top_reference"][n, block])),
                top_twin=texts.token(int(rows["top_twin"][n, block])),
                target_reference=float(rows["target_reference"][n, block]),
                target_twin=float(rows["target_twin"][n, block]),
            )
    return DetailTable("trajectories", columns)
