"""Attribution patching with integrated gradients: about what every node does, without a run each.

To first order a node's effect is its change from the corrupt prompt to the clean one times the
gradient of the score at it. The gradient is the mean of those on the way from the corrupt prompt's
embedding to the clean one's (EAP-IG-inputs: Hanna et al. 2024, arXiv 2403.17806), because at
either end alone a saturated softmax has none. A latent's change is that of its activation, times
its decoder direction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.causal.nodes import Node
from bitlens.analyses.causal.scores import PairRows, batches_of, score
from bitlens.data.circuit_tasks.prompts import TaskPrompts
from bitlens.engine.swept_model import Reference
from bitlens.models.layout import Layout
from bitlens.models.shell import Call
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.sae import Sae

STEPS = 5
"""Points on the way, in the middles of fifths."""
_ROWS = 256
"""Positions of which dense codes are held at a time."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Attributions:
    """What a task's clean values would bring back of the mean score, about, on the pairs on which
    circuits are chosen: in logits, or in shares."""

    nodes: Annotated[np.ndarray, "nodes"]
    latents: Mapping[str, np.ndarray]
    """By SAE, `[latents]`; 0 of one that does not fire."""
    fired: Mapping[str, int]
    """By SAE, how many latents fire at the positions that are put in place, on either prompt."""


def attributions(
    layout: Layout,
    task: TaskPrompts,
    nodes: Sequence[Node],
    batch_tokens: int,
    saes: Sequence[PlacedSae] = (),
) -> Attributions:
    """Of heads and MLPs, and of all latents of SAEs. The latents' is the change from the corrupt
    prompt's code to the clean one's, along decoder directions as they count on the corrupt
    prompt."""
    found, pairs = np.zeros(len(nodes)), 0
    of_saes = {placed.sae.label: _LatentSums(placed.sae) for placed in saes}
    sites = sorted({node.site for node in nodes} | {placed.site for placed in saes})
    for rows in batches_of([task], choosing=True, batch_tokens=batch_tokens, device=layout.device):
        slopes = _slopes(layout, rows, sites)
        found += [slopes.of_node(node) for node in nodes]
        for placed in saes:
            of_saes[placed.sae.label].add(*slopes.at(placed.site))
        pairs += len(rows.numbers)
    return Attributions(
        nodes=found / pairs,
        latents={name: of.total / pairs for name, of in of_saes.items()},
        fired={name: int(of.fired.sum()) for name, of in of_saes.items()},
    )


def first_cut(every: Sequence[Node], of: Sequence[np.ndarray], most: int) -> list[Node]:
    """The `most` nodes of which some task's attributions, as shares of its largest, say most; in
    the model's own order."""
    shares = [np.abs(one) / max(float(np.abs(one).max()), 1e-30) for one in of]
    largest = np.max(shares, axis=0)
    kept = np.sort(np.argsort(-largest, kind="stable")[:most])
    return [every[n] for n in kept]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Slopes:
    """What stands at sites on both prompts of some pairs, `[pairs, positions, width]`, and the mean
    gradient of the pairs' summed score there."""

    clean: Mapping[str, Tensor]
    corrupt: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    counts: Tensor
    """`[pairs, positions]`: at which positions values are put in place."""

    def of_node(self, node: Node) -> float:
        """A node's change times the gradient at it."""
        clean, corrupt, gradient = self.at(node.site)
        columns = node.columns or slice(None)
        return float(((clean - corrupt) * gradient)[:, columns].double().sum())

    def at(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """The clean values, the corrupt ones and the gradients at a site, `[n, width]` each of the
        positions that count."""
        here = self.clean[name], self.corrupt[name], self.gradients[name]
        clean, corrupt, gradient = (of[self.counts] for of in here)
        return clean, corrupt, gradient


class _LatentSums:
    """What is summed up of the latents of an SAE."""

    def __init__(self, sae: Sae) -> None:
        self._sae = sae
        self.total = np.zeros(sae.latents)
        self.fired = np.zeros(sae.latents, dtype=bool)

    @torch.no_grad()
    def add(self, clean: Tensor, corrupt: Tensor, gradient: Tensor) -> None:
        """Of some positions, `[n, width]` each."""
        parts = (of.float().split(_ROWS) for of in (clean, corrupt, gradient))
        for one, other, slope in zip(*parts, strict=True):
            codes, before = self._sae.codes(one), self._sae.codes(other)
            moved = codes.dense() - before.dense()
            along = slope if before.scale is None else slope * before.scale
            self.total += (moved * (along @ self._sae.w_dec.T)).double().sum(dim=0).cpu().numpy()
            for of in (codes, before):
                self.fired[of.latent.unique().cpu().numpy()] = True


def _slopes(layout: Layout, rows: PairRows, sites: Sequence[str]) -> _Slopes:
    reference = Reference(layout)
    tokens = rows.batch.tokens
    with torch.no_grad():
        entry = reference.enter(tokens[0::2], None)
        ends = entry.hidden, reference.enter(tokens[1::2], None).hidden
        clean, corrupt = (_through(layout, end, entry.calls, sites)[0] for end in ends)
    summed: dict[str, Tensor] = {}
    for step in range(STEPS):
        along = (step + 0.5) / STEPS
        start = (ends[1] + along * (ends[0] - ends[1])).detach().requires_grad_()
        with torch.enable_grad():
            values, last = _through(layout, start, entry.calls, sites)
            logits = reference.leave(last[:, -1]).float()
            total = score(rows, rows.numbers, logits).sum()
        gradients = torch.autograd.grad(total, [values[site] for site in sites])
        for site, gradient in zip(sites, gradients, strict=True):
            summed[site] = summed.get(site, 0) + gradient.float() / STEPS
    reference.release()
    assert rows.batch.mark is not None
    return _Slopes(
        clean=clean,
        corrupt=corrupt,
        gradients=summed,
        counts=rows.batch.mark.view(tokens.shape)[0::2] >= 0,
    )


def _through(
    layout: Layout, states: Tensor, calls: Sequence[Call], sites: Sequence[str]
) -> tuple[dict[str, Tensor], Tensor]:
    """What stands at these sites, and the states after the last block."""
    reference = Reference(layout)
    found: dict[str, Tensor] = {"embed": states}
    for depth in range(layout.depth):
        block = reference.block(depth, layout.block(depth))
        here = [site for site in sites if site.endswith(f".{depth}")]
        values, states = block(states, calls[depth], here)
        found |= values
    return found, states
