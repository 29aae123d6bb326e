"""An SAE and activations of two models, between which the damage is known."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bitlens.sae.repair.activations import PairedActivations
from bitlens.sae.sae import Sae

WIDTH, LATENTS, N = 16, 24, 2000
KINDS = ("standard", "topk", "jumprelu", "gated", "layer_norm", "no b_dec", "centred")


def sae(kind: str = "standard", seed: int = 0) -> Sae:
    """A random dictionary, of which every latent fires at some positions and not at others."""
    draw = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(LATENTS, WIDTH, generator=draw), dim=1)
    plain = Sae(
        label="planted",
        hook="resid.1",
        architecture="standard",
        w_enc=directions.T.contiguous(),
        b_enc=-0.2 * torch.rand(LATENTS, generator=draw),
        w_dec=directions,
        b_dec=0.2 * torch.randn(WIDTH, generator=draw),
    )
    threshold = 0.3 + 0.3 * torch.rand(LATENTS, generator=draw)
    changed: dict[str, dict[str, object]] = {
        "topk": {"architecture": "topk", "k": 5},
        "jumprelu": {"architecture": "jumprelu", "threshold": threshold},
        "gated": {"architecture": "gated", "threshold": threshold},
        "layer_norm": {"normalisation": "layer_norm"},
        "no b_dec": {"apply_b_dec_to_input": False},
        "centred": {"centred": True},
    }
    return replace(plain, **changed.get(kind, {}))  # type: ignore[arg-type]


def activations(seed: int = 1, n: int = N) -> Tensor:
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed))


def on(twin: Tensor, reference: Tensor | None = None) -> PairedActivations:
    x = activations() if reference is None else reference
    return PairedActivations(x, twin, torch.arange(len(x)) % 4 == 0)


def turned(x: Tensor, seed: int = 2) -> Tensor:
    """An invertible linear map, neither a rotation nor far from the identity, and a shift."""
    draw = torch.Generator().manual_seed(seed)
    matrix = torch.eye(WIDTH) + 0.2 * torch.randn(WIDTH, WIDTH, generator=draw)
    return x @ matrix + 0.3 * torch.randn(WIDTH, generator=draw)


def correlations(before: Sae, after: Sae, x: Tensor, y: Tensor) -> np.ndarray:
    """`[latents]`: by numpy."""
    a, b = before.encode(x).numpy(), after.encode(y).numpy()
    return np.array([np.corrcoef(a[:, j], b[:, j])[0, 1] for j in range(LATENTS)])
