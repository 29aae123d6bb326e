"""Small random SAEs of every kind, in generic position."""

import math
from typing import Any

import torch

from bitlens.sae.sae import Sae, TrainedOn

ARCHITECTURES = ("standard", "topk", "jumprelu", "gated")
NORMALISATIONS = ("none", "expected_average_only_in", "layer_norm", "constant_norm_rescale")


def small_sae(
    architecture: Any = "standard", width: int = 12, latents: int = 40, seed: int = 0, **other: Any
) -> Sae:
    """Weights that make some latents fire at some positions, whatever the architecture."""
    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    return Sae(
        **{
            "label": "small",
            "hook": "blocks.1.hook_resid_post",
            "architecture": architecture,
            "w_enc": random(width, latents) / math.sqrt(width),
            "b_enc": 0.3 * random(latents),
            "w_dec": random(latents, width),
            "b_dec": random(width),
            "threshold": random(latents) * 0.5 if architecture in ("jumprelu", "gated") else None,
            "k": 5 if architecture == "topk" else None,
            "trained_on": TrainedOn(model="tiny", context=16, prepend_bos=True, dtype="float32"),
            **other,
        }
    )


def activations(rows: int = 50, width: int = 12, seed: int = 1) -> torch.Tensor:
    """Rows of different sizes about a mean that is not zero."""
    draw = torch.Generator().manual_seed(seed)
    size = torch.rand(rows, 1, generator=draw) + 0.5
    return size * torch.randn(rows, width, generator=draw) + torch.linspace(-1, 2, width)
