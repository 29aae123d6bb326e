"""The logit lens of directions: what a small step along one does to the logits, read straight
through the final norm and the unembedding.

With f the model from behind its last block to the logits, x a reference's activation at the site
and v a direction, the push is the derivative of f at x along v, by central differences, less its
mean over the vocabulary, averaged over activations: the norm is linearised where the model is. What
later blocks would do with it is left out, as the logit lens does (nostalgebraist 2020).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bitlens.models.layout import Layout

STATES = 32
"""Activations over which the push is averaged, or all where there are fewer."""
STEP = 0.01
"""Length of a step over that of the activation."""
_LOGITS = 256 << 20
"""Bytes of logits at a time."""


@torch.no_grad()
def pushes(layout: Layout, states: Tensor, directions: Tensor) -> Tensor:
    """`[n, vocabulary]` float32 of directions `[n, width]` at activations `[m, width]`: logits per
    length 1 of the direction times its length. A direction of no length pushes nothing."""
    lengths = directions.norm(dim=1)
    step = STEP * states.norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    tile = max(1, _LOGITS // (2 * 4 * layout.vocabulary * len(states)))
    found = []
    for part, length in zip(directions.split(tile), lengths.split(tile), strict=True):
        unit = part / length.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        moved = unit[:, None] * step[None, :, None]
        both = torch.stack([states + moved, states - moved])
        logits = layout.shell.leave(both.flatten(0, 2)).float().unflatten(0, both.shape[:3])
        slope = (logits[0] - logits[1]) / (2 * step[None, :, None])
        slope = slope.mean(dim=1)
        found.append((slope - slope.mean(dim=1, keepdim=True)) * length[:, None])
    return torch.cat(found)


def extremes(push: Tensor, most: int) -> tuple[Sequence[int], Sequence[int]]:
    """The tokens that a push `[vocabulary]` promotes most, and those it suppresses most."""
    order = push.argsort(descending=True, stable=True)
    return order[:most].tolist(), order.flip(0)[:most].tolist()
