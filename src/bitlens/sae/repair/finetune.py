"""Fine-tuning of an encoder on a twin: what no linear map gives it."""

from collections.abc import Callable
from dataclasses import replace

import torch

from bitlens import seeds
from bitlens.sae.repair.activations import PairedActivations
from bitlens.sae.repair.metrics import code_error, feature_variance
from bitlens.sae.sae import Sae

BATCH, STEPS, RATE, EVERY, PATIENCE = 1024, 600, 1e-3, 50, 3
"""Of the training: positions a step, steps at most, Adam's step, steps between two looks at the
held-out positions, and looks without gain after which it ends."""


def trained(
    sae: Sae,
    reference: Sae,
    learnt: PairedActivations,
    held: PairedActivations,
    *,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Sae:
    """The encoder trained against the reference's codes, by Adam (Kingma and Ba 2015), from `sae`
    on; of what it was on the way, that which leaves least on the held-out positions.

    Where a latent fires in either model its pre-activation is to be the reference's code, 0 where
    it is silent there; squared errors in units of each feature's variance, so that rare features
    count as much as strong ones.
    """
    wanted = feature_variance(reference, learnt.reference)
    weight = torch.where(wanted > 0, 1 / wanted.clamp(min=1e-30), 0.0).float()
    w_enc, b_enc = (of.clone().requires_grad_() for of in (sae.w_enc, sae.b_enc))
    optimizer = torch.optim.Adam([w_enc, b_enc], lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, STEPS)
    draw = torch.Generator().manual_seed(seeds.derive(seed, "repair"))
    best, least, waited = sae, code_error(reference, sae, held), 0
    for step in range(1, STEPS + 1):
        chosen = torch.randint(len(learnt.twin), (BATCH,), generator=draw).to(w_enc.device)
        x, y = learnt.reference[chosen], learnt.twin[chosen]
        now = replace(sae, w_enc=w_enc.detach(), b_enc=b_enc.detach())
        target, own = reference.encode(x), now.encode(y)
        before = sae.read(y)[0] @ w_enc + b_enc
        error = torch.where((target > 0) | (own > 0), before - target, 0.0)
        loss = (error.square().sum(dim=0) * weight).sum() / BATCH
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress(step)
        if step % EVERY == 0:
            now = replace(sae, w_enc=w_enc.detach().clone(), b_enc=b_enc.detach().clone())
            found = code_error(reference, now, held)
            waited = 0 if found < least else waited + 1
            best, least = (now, found) if found < least else (best, least)
            if waited == PATIENCE:
                break
    return best
