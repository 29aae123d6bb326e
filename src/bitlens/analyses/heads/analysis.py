"""The heads analysis, of attention in repeated sequences: do those that copy still copy?"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.heads.survival import survival, survival_metrics
from bitlens.analyses.known import ANALYSES
from bitlens.data.corpus import Corpus
from bitlens.data.repeated_tokens import repeated
from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import ActivationPair, Activations
from bitlens.engine.analysis import (
    Analysis,
    CorpusReader,
    ReadRequest,
    Requirement,
    Results,
    Sample,
    TokenizerFacts,
)
from bitlens.models.sites import all_sites
from bitlens.results.records import DetailTable, Metric, MetricResult
from bitlens.results.stats.replicates import bounds

if TYPE_CHECKING:
    from bitlens.models.layout import Layout

KINDS = ("induction", "previous", "duplicate")
BOTH = ("reference", "twin")
FORM = 3
"""Of what a cell holds; counted up with it, so that one of an earlier form is made again."""
COPIES = 0.1
"""A reference copies that loses so large a share of the first copy's loss on the second; of less
there is no share to keep."""
PERIODS = (25, 50, 100)
CHOOSING, SCORING = 9, 24
"""Sequences on which heads are chosen, and those on which they are scored: on the same ones the
chosen would look better than they are."""
OFFSETS = (-4, -3, -2, 2, 3, 4)
"""Keys beside the target, where a head that does what it is scored for does not look."""

_DOES = {
    "induction": "looks at the token after the last occurrence of the current one",
    "previous": "looks at the token before",
    "duplicate": "looks at the last occurrence of the current token",
}
_OLSSON = "Olsson et al. 2022, arXiv 2209.11895"


def _of_kind(kind: str) -> tuple[Metric, ...]:
    does = _DOES[kind]
    return (
        Metric(
            kind,
            f"How much of a head's attention {does}? Mean share on repeated random tokens.",
            unit="share",
            worse="lower",
            intact=None,
            level=True,
            source=_OLSSON,
        ),
        Metric(
            f"{kind}_change",
            f"How did the share of attention change that {does}?",
            unit="share",
            worse="lower",
            intact=0.0,
        ),
        *survival_metrics(kind),
    )


@ANALYSES.register("heads")
@dataclass(frozen=True)
class Heads(Analysis):
    """Induction, previous-token and duplicate-token heads on random tokens that repeat, and what
    the second copy gains.

    Heads are chosen on some sequences and scored on others; sequences are the sampling unit.
    Chance of a score: the same share of attention at keys beside the target.
    """

    name: ClassVar[str] = "heads"
    requires: ClassVar[frozenset[Requirement]] = frozenset({"eager_attention"})
    metrics: ClassVar[tuple[Metric, ...]] = (
        *(metric for kind in KINDS for metric in _of_kind(kind)),
        Metric(
            "induction_kept_readme",
            "Of the reference's heads above 0.4, how many stay above 0.4, without other sequences "
            "to choose on?",
            unit="share",
            worse="lower",
            intact=1.0,
            interval=False,
            source="README of does-quantization-kill-interpretability",
        ),
        Metric(
            "induction_kept_code",
            "Of the reference's heads above the mean plus two standard deviations of all scores, "
            "how many stay above half of that?",
            unit="share",
            worse="lower",
            intact=1.0,
            interval=False,
            source="code of does-quantization-kill-interpretability",
        ),
        Metric(
            "copying",
            "How much easier is the second copy than the first? Loss on the first less loss on the "
            "second.",
            unit="nats",
            worse="lower",
            intact=None,
            level=True,
            source=_OLSSON,
        ),
        Metric(
            "second_copy",
            "How hard is the second copy? Mean loss on it.",
            unit="nats",
            worse="higher",
            intact=None,
            scale="log",
            level=True,
            source=_OLSSON,
        ),
        Metric(
            "second_copy_ratio",
            "How many times as hard is the second copy for the twin as for the reference?",
            unit="",
            worse="higher",
            intact=1.0,
            scale="log",
        ),
        Metric(
            "copying_kept",
            "What share of the second copy's gain is left in the twin?",
            unit="share",
            worse="lower",
            intact=1.0,
        ),
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The form of a cell; all else that decides is fixed."""
        return {"form": FORM}

    def reads(self, layout: "Layout") -> list[ReadRequest]:
        """The pattern of every block, and the logits."""
        return [ReadRequest(sites=(*all_sites(layout, ("pattern",)), "logits"))]

    def documents(self, reader: TokenizerFacts) -> tuple[Corpus, int]:
        """Sequences of random tokens, each said twice, and how many of them heads are chosen on."""
        count = CHOOSING + SCORING
        made = repeated(reader.tokens, reader.bos, reader.context, PERIODS, count, reader.seed)
        return made, CHOOSING

    def update(self, pair: ActivationPair) -> Accumulator:
        """Attention at target keys, `[shards, heads]` a kind; of the logits losses, `[shards]`."""
        return _losses(pair) if pair.site == "logits" else _scores(pair)

    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        """Every head's scores and their change at one block; of the logits how well is copied."""
        if state.has("second_reference"):
            return _copying(state)
        found: Results = []
        for kind in KINDS:
            of = {who: _score(state, kind, who) for who in BOTH}
            for who, scores in of.items():
                beside = _score(state, f"{kind}_beside", who)[0]
                found += [
                    MetricResult(kind, score, item=f"head {h}, {who}", chance=float(beside[h]))
                    for h, score in enumerate(scores.T)
                ]
            change = of["twin"] - of["reference"]
            found += [
                MetricResult(f"{kind}_change", c, item=f"head {h}") for h, c in enumerate(change.T)
            ]
        return found

    def compute_overall(self, sites: Mapping[str, ReplicateState], texts: CorpusReader) -> Results:
        """How many heads of all blocks keep their kind, and the table of every head."""
        blocks = {s: t for s, t in sites.items() if not t.has("second_reference")}
        if not blocks:
            # A run that leaves the reference behind its last block has no heads of its own.
            return []
        found: Results = []
        columns: dict[str, list[np.ndarray]] = {}
        for kind in KINDS:
            scores = {
                who: np.hstack([_score(t, kind, who) for t in blocks.values()]) for who in BOTH
            }
            chosen_on = np.concatenate(
                [_score(t, f"choosing_{kind}", "reference")[0] for t in blocks.values()]
            )
            away = np.hstack([_score(t, f"{kind}_beside", "twin")[:1] for t in blocks.values()])[0]
            found += survival(kind, chosen_on, away, **scores)
            beside = [_score(t, f"{kind}_beside", "reference")[0] for t in blocks.values()]
            low, high = bounds(scores["twin"], next(iter(blocks.values())).weights)
            table = {
                "block": np.concatenate(
                    [
                        np.full(len(b), int(s.partition(".")[2]))
                        for s, b in zip(blocks, beside, strict=True)
                    ]
                ),
                "head": np.concatenate([np.arange(len(b)) for b in beside]),
                "kind": np.full(len(chosen_on), kind),
                "choosing": chosen_on,
                "reference": scores["reference"][0],
                "twin": scores["twin"][0],
                "twin_low": low,
                "twin_high": high,
                "chance": np.concatenate(beside),
            }
            for name, values in table.items():
                columns.setdefault(name, []).append(values)
        return [*found, DetailTable("heads", {n: np.concatenate(v) for n, v in columns.items()})]


def _scores(pair: ActivationPair) -> Accumulator:
    """Attention at target keys and beside them, by kind; every sequence counts the same."""
    at = pair.positions
    index = pair.reference.index
    assert index is not None
    queries = pair.reference.values.shape[2]
    row, query = index // queries, index % queries
    period = at.length // 2
    # A window is BOS, if any, and twice its period.
    place, start = at.offset, at.length % 2
    second = place > start + period
    targets = {
        "induction": (second, place - period + 1, period - 1),
        "previous": (place > start, place - 1, 2 * period - 1),
        "duplicate": (place >= start + period, place - period, period),
    }
    scoring = at.shard < at.shards - 1
    sums: dict[str, Tensor] = {}
    offsets = torch.tensor((0, *OFFSETS), device=query.device)
    for kind, (asked, key, count) in targets.items():
        # Window and row begin together, so a place in one is a place in the other.
        keys = key[:, None] + offsets
        seen = asked[:, None] & (keys >= start[:, None]) & (keys <= place[:, None])
        beside = seen[:, 1:].double()
        each = asked.double() / count
        sums |= {
            f"{kind}_sequences": at.total(each * scoring),
            f"choosing_{kind}_sequences": at.total(each * ~scoring),
            f"{kind}_beside_sequences": at.total(beside.sum(dim=1) * scoring),
        }
        for who, activations in (("reference", pair.reference), ("twin", pair.twin)):
            attention = activations.once(kind, partial(_attention, activations, row, query, keys))
            target = attention[:, 0] * each[:, None]
            away = (attention[:, 1:] * beside[:, :, None]).sum(dim=1)
            sums |= {
                f"{kind}_{who}": at.total(target * scoring[:, None]),
                f"choosing_{kind}_{who}": at.total(target * ~scoring[:, None]),
                f"{kind}_beside_{who}": at.total(away * scoring[:, None]),
            }
    return Accumulator(sums=sums)


def _attention(activations: Activations, row: Tensor, query: Tensor, keys: Tensor) -> Tensor:
    """What each query pays to some keys: `[n]`, `[n]`, `[n, k]` to `[n, k, heads]`."""
    inside = keys.clamp(0, activations.values.shape[3] - 1)
    return activations.values[row[:, None], :, query[:, None], inside].double()


def _score(state: ReplicateState, name: str, who: str) -> np.ndarray:
    """`[replicates + 1, heads]`."""
    count = state.sum(f"{name}_sequences")[:, None]
    return np.asarray(state.sum(f"{name}_{who}") / np.maximum(count, np.finfo(float).tiny))


def _losses(pair: ActivationPair) -> Accumulator:
    """Loss on what the first copy and the second say, without their first tokens."""
    at = pair.positions
    period, start = at.length // 2, at.length % 2
    scoring = at.shard < at.shards - 1
    copies = {
        "first": scoring & (at.offset <= start + period - 2),
        "second": scoring & (at.offset >= start + period),
    }
    sums = {f"{copy}_count": at.total(seen.double()) for copy, seen in copies.items()}
    for who, activations in (("reference", pair.reference), ("twin", pair.twin)):
        loss = -activations.log_probabilities.gather(1, at.target[:, None])[:, 0].double()
        sums |= {f"{copy}_{who}": at.total(loss * seen) for copy, seen in copies.items()}
    return Accumulator(sums=sums)


def _copying(state: ReplicateState) -> Results:
    loss = {
        copy: {who: state.sum(f"{copy}_{who}") / state.sum(f"{copy}_count") for who in BOTH}
        for copy in ("first", "second")
    }
    gain = {who: loss["first"][who] - loss["second"][who] for who in BOTH}
    found: Results = [MetricResult("copying", values, item=who) for who, values in gain.items()]
    found += [
        MetricResult("second_copy", values, item=who) for who, values in loss["second"].items()
    ]
    found.append(_ratio(loss["second"], chance=loss["first"]["reference"]))
    if np.all(gain["reference"] > COPIES * loss["first"]["reference"]):
        kept = gain["twin"] / gain["reference"]
        return [*found, MetricResult("copying_kept", kept, chance=0.0)]
    reason = "the reference hardly copies: the second copy is less than a tenth easier"
    return [*found, MetricResult("copying_kept", None, reason=reason)]


def _ratio(second: Mapping[str, np.ndarray], chance: np.ndarray) -> MetricResult:
    """`chance`: the loss where there is nothing to copy."""
    if not np.all(second["reference"] > 0):
        return MetricResult("second_copy_ratio", None, reason="the reference copies without a loss")
    ratio = second["twin"] / second["reference"]
    return MetricResult(
        "second_copy_ratio", ratio, chance=float(chance[0] / second["reference"][0])
    )
