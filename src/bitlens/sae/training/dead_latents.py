"""Latents that never fire, by the reason why."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bitlens.sae.sae import Sae

FEWEST = 10
"""Positions a latent below which there is too little to learn from."""
SHORT = 0.01
"""Share of the living latents' median encoder length below which a latent is too short."""
ALIKE = 0.95
"""Cosine of two decoder rows above which they say the same."""
REASONS = {
    "too little data": f"fewer than {FEWEST} positions learnt from for each latent",
    "norm": f"an encoder column shorter than {SHORT:.0%} of the living latents' median",
    "duplicate": f"a decoder row within a cosine of {ALIKE} of a living latent's",
    "bias": "positions point its way, but bias or threshold outweigh the farthest of them",
    "direction": "no position points its way",
    "outranked": "positive pre-activations that are never among the k largest",
}
"""What each word means; of several that hold, the first is given."""
_LATENTS = 1024
"""Compared with all living ones at a time."""


def diagnose(sae: Sae, x: Tensor, learnt_from: int) -> dict[str, int]:
    """How many of the latents that fire nowhere in `x` `[n, width]` are dead for which reason?

    `learnt_from`: how many different positions the SAE was trained on.
    """
    alive = torch.zeros(sae.latents, dtype=torch.bool, device=x.device)
    farthest = x.new_full((sae.latents,), -float("inf")).float()
    for part in x.split(4096):
        alive[sae.codes(part).latent] = True
        farthest = farthest.maximum((sae.read(part)[0] @ sae.w_enc).amax(0))
    left = (~alive).nonzero().flatten()
    if len(left) == 0 or len(x) == 0:
        return {}
    if learnt_from < FEWEST * sae.latents:
        return {"too little data": len(left)}
    length = sae.w_enc.norm(dim=0)
    bound = 0 if sae.threshold is None else sae.threshold.clamp(min=0)
    holds = {
        "norm": length < SHORT * (length[alive].median() if alive.any() else 0),
        "duplicate": _duplicates(sae.w_dec, alive),
        "direction": farthest <= 0,
        "bias": farthest + sae.b_enc <= bound,
    }
    found: dict[str, int] = {}
    for reason in ("norm", "duplicate", "direction", "bias"):
        here = holds[reason][left]
        if here.any():
            found[reason] = int(here.sum())
        left = left[~here]
    return found | ({"outranked": len(left)} if len(left) else {})


def _duplicates(w_dec: Tensor, alive: Tensor) -> Tensor:
    """`[latents]` bool: the dead ones whose row is nearly a living one's."""
    rows, found = normalize(w_dec, dim=1), alive.new_zeros(len(w_dec))
    living = rows[alive]
    if len(living):
        for some in (~alive).nonzero().flatten().split(_LATENTS):
            found[some] = (rows[some] @ living.T).amax(1) > ALIKE
    return found
