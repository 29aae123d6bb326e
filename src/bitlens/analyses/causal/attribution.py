"""Attribution patching with integrated gradients: about what every node does, without a run each.

To first order a node's effect is its change from the corrupt prompt to the clean one times the
gradient of the score at it. The gradient is the mean of those on the way from the corrupt prompt's
embedding to the clean one's (EAP-IG-inputs: Hanna et al. 2024, arXiv 2403.17806), because at
either end alone a saturated softmax has none.
"""

from collections.abc import Sequence
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

STEPS = 5
"""Points on the way, in the middles of fifths."""


def attributions(
    layout: Layout, task: TaskPrompts, nodes: Sequence[Node], batch_tokens: int
) -> Annotated[np.ndarray, "nodes"]:
    """What every node's clean value would bring back of the mean score, about, on the pairs on
    which circuits are chosen: in logits, or in shares."""
    found = np.zeros(len(nodes))
    pairs = 0
    for rows in batches_of([task], choosing=True, batch_tokens=batch_tokens, device=layout.device):
        found += _of_rows(layout, rows, nodes)
        pairs += len(rows.numbers)
    return found / pairs


def first_cut(every: Sequence[Node], of: Sequence[np.ndarray], most: int) -> list[Node]:
    """The `most` nodes of which some task's attributions, as shares of its largest, say most; in
    the model's own order."""
    shares = [np.abs(one) / max(float(np.abs(one).max()), 1e-30) for one in of]
    largest = np.max(shares, axis=0)
    kept = np.sort(np.argsort(-largest, kind="stable")[:most])
    return [every[n] for n in kept]


def _of_rows(layout: Layout, rows: PairRows, nodes: Sequence[Node]) -> np.ndarray:
    reference = Reference(layout)
    tokens = rows.batch.tokens
    with torch.no_grad():
        entry = reference.enter(tokens[0::2], None)
        ends = entry.hidden, reference.enter(tokens[1::2], None).hidden
    sites = sorted({node.site for node in nodes})
    with torch.no_grad():
        clean, corrupt = (_through(layout, end, entry.calls, sites)[0] for end in ends)
    assert rows.batch.mark is not None
    counts = (rows.batch.mark.view(tokens.shape)[0::2] >= 0)[..., None]
    found = np.zeros(len(nodes))
    for step in range(STEPS):
        along = (step + 0.5) / STEPS
        start = (ends[1] + along * (ends[0] - ends[1])).detach().requires_grad_()
        with torch.enable_grad():
            values, last = _through(layout, start, entry.calls, sites)
            logits = reference.leave(last[:, -1]).float()
            total = score(rows, rows.numbers, logits).sum()
        gradients = torch.autograd.grad(total, [values[site] for site in sites])
        at = dict(zip(sites, gradients, strict=True))
        for n, node in enumerate(nodes):
            columns = node.columns or slice(None)
            moved = (clean[node.site] - corrupt[node.site])[..., columns]
            found[n] += float((moved * at[node.site][..., columns] * counts).double().sum())
    reference.release()
    return found / STEPS


def _through(
    layout: Layout, states: Tensor, calls: Sequence[Call], sites: Sequence[str]
) -> tuple[dict[str, Tensor], Tensor]:
    """What stands at these sites, and the states after the last block."""
    reference = Reference(layout)
    found: dict[str, Tensor] = {}
    for depth in range(layout.depth):
        block = reference.block(depth, layout.block(depth))
        here = [site for site in sites if site.endswith(f".{depth}")]
        values, states = block(states, calls[depth], here)
        found |= values
    return found, states
