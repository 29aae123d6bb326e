"""Errors of a twin's code beside the reference's, and how near a linear reading could bring it."""

import torch
from torch import Tensor

from bitlens.results.stats.firings import active
from bitlens.sae.repair.activations import ENTRIES, PairedActivations, tiles
from bitlens.sae.sae import Sae


def code_error(reference: Sae, made: Sae, on: PairedActivations) -> float:
    """How far is the twin's code from the reference's? Mean over features of the squared
    difference beside the feature's variance, at most 1 each; 0 is the same code, 1 no better than
    always saying the mean. 1 where there is no feature.

    A feature is a latent that fires often enough in the reference (`stats.firings`).
    """
    spread = feature_variance(reference, on.reference)
    error = torch.zeros_like(spread)
    for x, y in tiles(reference, on):
        error += (made.encode(y) - reference.encode(x)).double().square().sum(dim=0)
    known = spread > 0
    shares = error[known] / (spread[known] * len(on.reference))
    return float(shares.clamp(max=1).mean()) if len(shares) else 1.0


def feature_variance(sae: Sae, x: Tensor) -> Tensor:
    """`[latents]` float64: the variance of each feature's code; 0 for what is no feature."""
    fired, total, square = torch.zeros(3, sae.latents, dtype=torch.float64, device=x.device)
    for part in x.split(max(1, ENTRIES // sae.latents)):
        codes = sae.codes(part)
        value = codes.value.double()
        for sums, values in ((fired, torch.ones_like(value)), (total, value), (square, value**2)):
            sums += torch.bincount(codes.latent, values, minlength=sae.latents)
    variance = square / len(x) - (total / len(x)) ** 2
    often = torch.from_numpy(active(fired.cpu().numpy(), len(x))).to(x.device)
    return torch.where(often, variance, 0.0).clamp(min=0)


def readable(sae: Sae, mapped: Sae, held: PairedActivations) -> Tensor:
    """`[latents]`: how well does the best linear reading of the twin tell each latent's
    pre-activation in the reference? Pearson correlation over held-out positions with that of
    `mapped`, the SAE `with_map` made; 0 where one of them does not vary."""
    sums = torch.zeros(5, sae.latents, dtype=torch.float64, device=sae.w_enc.device)
    for x, y in tiles(sae, held):
        a = (sae.read(x)[0] @ sae.w_enc).double()
        b = (sae.read(y)[0] @ mapped.w_enc).double()
        for total, value in zip(sums, (a, b, a * a, b * b, a * b), strict=True):
            total += value.sum(dim=0)
    a, b, aa, bb, ab = sums / len(held.twin)
    scale = ((aa - a * a).clamp(min=0) * (bb - b * b).clamp(min=0)).sqrt()
    return torch.where(scale > 0, (ab - a * b) / scale.clamp(min=1e-30), 0.0).float()
