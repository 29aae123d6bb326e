"""Two routers' decisions on the same tokens: what is summed of them, and what the sums say."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from bitlens.engine.accumulators import ReplicateState
from bitlens.engine.activations import Activations, Positions
from bitlens.engine.analysis import Results
from bitlens.models.expert_routing import Routing
from bitlens.results.records import MetricResult

OVERLAPS = ("agreement", "exact", "top1", "jaccard", "mass", "kl", "tv")
MARGINS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Where one class of margins ends and the next begins, in logits: a factor of 1.1, 1.2, 1.6, 2.7
and 7.4 between the two experts' shares."""
BANDS = (
    f"margin below {MARGINS[0]:g}",
    *(f"margin {a:g} to {b:g}" for a, b in pairwise(MARGINS)),
    f"margin above {MARGINS[-1]:g}",
)
NO_MARGIN = "no token of these documents has such a margin"
ALONE = "the tokens of one document alone have such a margin: no replicate can do without"


@dataclass(frozen=True)
class Decision:
    """One model's routing of `n` tokens, in the forms that overlaps are counted with."""

    routing: Routing

    @classmethod
    def of(cls, activations: Activations) -> "Decision":
        """Of what is read at a site `router`; of the reference's made once for all twins."""
        return activations.once("decision", lambda: cls(Routing.of(activations.values)))

    @cached_property
    def member(self) -> Annotated[Tensor, "n experts"]:
        """1 where the token is sent to the expert, else 0."""
        return torch.zeros_like(self.routing.scores).scatter_(-1, self.routing.chosen, 1.0)

    @cached_property
    def mass(self) -> Annotated[Tensor, "n experts"]:
        """Each expert's share of the weight that the chosen are given."""
        weights = self.routing.weights
        total = weights.sum(-1, keepdim=True)
        even = torch.full_like(weights, 1 / weights.shape[-1])
        # Nothing to share out where all weights are 0.
        shares = torch.where(total > 0, weights / total.clamp_min(1e-30), even)
        return torch.zeros_like(self.member).scatter_(-1, self.routing.chosen, shares)

    @cached_property
    def first(self) -> Annotated[Tensor, "n"]:
        """The chosen expert of largest weight."""
        largest = self.routing.weights.argmax(-1, keepdim=True)
        return self.routing.chosen.gather(-1, largest).squeeze(-1)

    @cached_property
    def log_shares(self) -> Annotated[Tensor, "n experts"]:
        """Logarithm of the router's distribution over all experts."""
        return torch.log_softmax(self.routing.scores, dim=-1)

    @cached_property
    def margin(self) -> Annotated[Tensor, "n"]:
        """How far the last of the chosen is ahead of the first that is not, in logits. Below 0
        where groups or a bias choose another than the largest scores."""
        scores, inside = self.routing.scores, self.member > 0
        chosen = scores.masked_fill(~inside, torch.inf).amin(-1)
        return chosen - scores.masked_fill(inside, -torch.inf).amax(-1)


def overlaps(reference: Decision, twin: Decision) -> Annotated[Tensor, "n overlaps"]:
    """`OVERLAPS` at every token, side by side."""
    k = reference.routing.chosen.shape[-1]
    common = (reference.member * twin.member).sum(-1)
    p, q = reference.log_shares, twin.log_shares
    columns = (
        common / k,
        (common == k).float(),
        (reference.first == twin.first).float(),
        common / (2 * k - common),
        torch.minimum(reference.mass, twin.mass).sum(-1),
        (p.exp() * (p - q)).sum(-1).clamp_min(0),
        (p.exp() - q.exp()).abs().sum(-1) / 2,
    )
    return torch.stack(columns, dim=-1)


def decision_sums(reference: Decision, twin: Decision, at: Positions) -> dict[str, Tensor]:
    """Overlaps `[shards, overlaps]` and tokens each expert gets, `[shards, experts]`."""
    return {
        "overlaps": at.total(overlaps(reference, twin)),
        "count": at.total(torch.ones(len(at), device=at.shard.device)),
        "load_reference": at.total(reference.member.double()),
        "load_twin": at.total(twin.member.double()),
    }


def margin_sums(reference: Decision, twin: Decision, at: Positions) -> dict[str, Tensor]:
    """Tokens with a margin of each class, and how many of them are sent elsewhere: `[shards,
    bands]` each."""
    edges = torch.tensor(MARGINS, device=at.shard.device)
    band = torch.bucketize(reference.margin, edges, right=True)
    inside = torch.nn.functional.one_hot(band, len(BANDS)).double()
    moved = (reference.member != twin.member).any(-1, keepdim=True)
    return {"in_band": at.total(inside), "moved": at.total(inside * moved)}


def overlap_results(state: ReplicateState) -> Results:
    """Means over tokens; the agreement with the chance that both loads give it: the sum over
    experts of the product of both shares of the tokens, over k."""
    loads = [state.value(f"load_{who}") / state.value("count") for who in ("reference", "twin")]
    chance = float((loads[0] * loads[1]).sum() / loads[0].sum())
    return [
        MetricResult(name, of, chance=chance if name == "agreement" else None)
        for name, of in zip(OVERLAPS, _means(state), strict=True)
    ]


def agreement(state: ReplicateState) -> np.ndarray:
    """`[replicates + 1]`: mean share of the chosen that both choose."""
    return np.asarray(_means(state)[OVERLAPS.index("agreement")])


def exact(state: ReplicateState) -> np.ndarray:
    """`[replicates + 1]`: share of tokens that are sent to exactly the same experts."""
    return np.asarray(_means(state)[OVERLAPS.index("exact")])


def _means(state: ReplicateState) -> np.ndarray:
    """`[overlaps, replicates + 1]`."""
    return np.asarray((state.sum("overlaps") / state.sum("count")[:, None]).T)


def load_results(state: ReplicateState) -> Results:
    """How evenly the experts are used, and what each of them gets more or less."""
    loads = {who: state.sum(f"load_{who}") for who in ("reference", "twin")}
    shares = {who: of / of.sum(-1, keepdims=True) for who, of in loads.items()}
    found: Results = []
    for who, of in shares.items():
        terms = np.where(of > 0, -of * np.log(np.where(of > 0, of, 1.0)), 0.0)
        entropy = terms.sum(-1) / np.log(of.shape[-1])
        found.append(MetricResult("load_entropy", entropy, item=who))
        found.append(MetricResult("load_peak", of.max(-1) * of.shape[-1], item=who))
    moved = np.abs(shares["reference"] - shares["twin"]).sum(-1) / 2
    found.append(MetricResult("load_tv", moved))
    count = state.sum("count")[:, None]
    shift = (loads["twin"] - loads["reference"]) / count
    return [
        *found,
        *(MetricResult("load_shift", of, item=f"expert {e}") for e, of in enumerate(shift.T)),
    ]


def margin_results(state: ReplicateState) -> Results:
    """How many of the tokens with a margin of each class are sent elsewhere."""
    inside, moved = state.sum("in_band"), state.sum("moved")
    found: Results = []
    for n, band in enumerate(BANDS):
        if np.all(inside[:, n] > 0):
            rate = moved[:, n] / inside[:, n]
            found.append(MetricResult("shift_rate", rate, item=band))
        else:
            reason = ALONE if inside[0, n] > 0 else NO_MARGIN
            found.append(MetricResult("shift_rate", None, item=band, reason=reason))
    return found
