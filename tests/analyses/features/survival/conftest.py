"""Two models' codes, drawn at random."""

import pytest
import torch

from bitlens.engine.activations import ActivationPair
from tests.support.coded import codes, pair


@pytest.fixture(scope="module")
def random_pair() -> ActivationPair:
    """200 positions in 8 documents, 30 latents of every rate, two of them dead, one never in the
    twin, one in the twin only; several gains and offsets."""
    draw = torch.Generator().manual_seed(3)
    x = codes(200, 30, 0) * torch.linspace(0.2, 3, 30)
    gain = torch.rand(30, generator=draw) + 0.5
    noise = torch.randn(200, 30, generator=draw) * torch.linspace(0, 2, 30)
    y = torch.where(x > 0, gain * x + noise, x + 0.3 * noise)
    x[:, [4, 9]] = y[:, [4, 9]] = -1
    y[:, 11] = x[:, 12] = y[:, 12] = -1
    y[:13, 12] = 1
    return pair(x, y, torch.arange(200) // 25)
