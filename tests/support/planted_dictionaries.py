"""Dictionaries whose counterparts are known."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bitlens.sae.sae import Sae


def unit(n: int, width: int, seed: int = 0) -> Tensor:
    """`[n, width]` uniformly random unit directions."""
    return normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def noisy(directions: Tensor, noise: float, seed: int = 1) -> Tensor:
    """Directions moved aside by noise of this length, at about cosine 1 / sqrt(1 + noise^2)."""
    draw = torch.Generator().manual_seed(seed)
    aside = torch.randn(directions.shape, generator=draw) / directions.shape[1] ** 0.5
    return normalize(directions + noise * aside, dim=1)


def order(n: int, seed: int = 2) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def orthogonal(width: int, seed: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(width, width, generator=draw))[0]


def sae_of(decoder: Tensor, encoder: Tensor | None = None, **other: object) -> Sae:
    """An SAE with these directions `[latents, width]`; the decoder's for both where one is given.
    Lengths differ: they are not to matter."""
    latents, width = decoder.shape
    length = torch.linspace(0.5, 2, latents)[:, None]
    fields = {
        "label": "planted",
        "hook": "resid.0",
        "architecture": "standard",
        "w_enc": ((decoder if encoder is None else encoder) / length).T,
        "b_enc": torch.zeros(latents),
        "w_dec": decoder * length,
        "b_dec": torch.zeros(width),
    }
    return Sae(**{**fields, **other})  # type: ignore[arg-type]
