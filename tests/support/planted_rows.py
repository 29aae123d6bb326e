"""Rows that are sums of directions that are known."""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bitlens.sae.sae import TrainedOn
from bitlens.sae.training.config import SaeTrainingConfig
from bitlens.sae.training.trainer import InMemory, Job, Trained, train

WIDTH, DIRECTIONS, LATENTS = 16, 24, 32
TOPK = SaeTrainingConfig(
    architecture="topk",
    latents=LATENTS,
    k=2,
    steps=400,
    batch=256,
    rate=1e-2,
    dead_after=5_000,
    auxiliary=0.1,
)


@cache
def planted() -> tuple[Tensor, Tensor, Tensor]:
    """24 unit directions in 16 dimensions, and two sets of rows, sums of about 1.5 of them."""
    draw = torch.Generator().manual_seed(0)
    directions = normalize(torch.randn(DIRECTIONS, WIDTH, generator=draw), dim=1)
    firing = (torch.rand(12_000, DIRECTIONS, generator=draw) < 1.5 / DIRECTIONS).float()
    codes = firing * (1 + torch.rand(12_000, DIRECTIONS, generator=draw))
    x = 3 * codes @ directions + torch.linspace(-2, 5, WIDTH)
    return directions, x[:10_000], x[10_000:]


def trained(
    *configs: SaeTrainingConfig, x: Tensor | None = None, patience: int = 0
) -> list[Trained]:
    """One SAE a config, in one pass over the planted rows."""
    rows = planted()[1] if x is None else x
    jobs = [
        Job(config=r, label=f"{n}", hook="resid.0", trained_on=TrainedOn(model="none"))
        for n, r in enumerate(configs)
    ]
    return train(InMemory({"": rows}), {"": planted()[2]}, jobs, patience, quiet=True)
