"""Maps as the layout hands them out, small and random."""

from collections.abc import Callable

import pytest
import torch

from bitlens.models.matrices import Map


@pytest.fixture
def maps() -> list[Map]:
    """Query, key and value of grouped-query attention, a fused map, one stored transposed as
    GPT-2 does, and fused experts."""
    random = torch.Generator().manual_seed(3)

    def weight(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random) * 0.1

    return [
        Map("layers.0.attn.q_proj", weight(32, 16), head_size=8),
        Map("layers.0.attn.k_proj", weight(16, 16), head_size=8),
        Map("layers.0.attn.v_proj", weight(16, 16), head_size=8),
        Map("layers.0.attn.qkv", weight(48, 16), head_size=4, fused="contiguous"),
        Map("layers.0.attn.query_key_value", weight(48, 16), head_size=4, fused="interleaved"),
        Map("layers.0.attn.o_proj", weight(16, 32)),
        Map("layers.0.mlp.c_fc", weight(16, 64).t()),
        Map("layers.0.mlp.experts.down_proj", weight(3, 16, 32)),
    ]


@pytest.fixture
def one() -> Callable[..., Map]:
    """A map with this weight."""

    def build(weight: object, **about: object) -> Map:
        return Map("layers.0.mlp.up_proj", torch.as_tensor(weight, dtype=torch.float32), **about)

    return build
