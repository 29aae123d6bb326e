"""Maps as the layout hands them out, small and random; studies of twins that are calibrated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens.compression.calibration.cache import ENVIRONMENT
from bitlens.config.study import Study, audit_of
from bitlens.models.matrices import LinearMap


@pytest.fixture
def matrices() -> list[LinearMap]:
    """Query, key and value of grouped-query attention, a fused map, one stored transposed as
    GPT-2 does, and fused experts."""
    random = torch.Generator().manual_seed(3)

    def weight(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random) * 0.1

    return [
        LinearMap("layers.0.attn.q_proj", weight(32, 16), head_size=8),
        LinearMap("layers.0.attn.k_proj", weight(16, 16), head_size=8),
        LinearMap("layers.0.attn.v_proj", weight(16, 16), head_size=8),
        LinearMap("layers.0.attn.qkv", weight(48, 16), head_size=4, fused="contiguous"),
        LinearMap(
            "layers.0.attn.query_key_value", weight(48, 16), head_size=4, fused="interleaved"
        ),
        LinearMap("layers.0.attn.o_proj", weight(16, 32)),
        LinearMap("layers.0.mlp.c_fc", weight(16, 64).t()),
        LinearMap("layers.0.mlp.experts.down_proj", weight(3, 16, 32)),
    ]


@pytest.fixture
def one() -> Callable[..., LinearMap]:
    """A map with this weight."""

    def build(weight: object, **about: object) -> LinearMap:
        return LinearMap(
            "layers.0.mlp.up_proj", torch.as_tensor(weight, dtype=torch.float32), **about
        )

    return build


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where calibrated twins are kept, with nothing in it yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(ENVIRONMENT, str(folder))
    return folder


@pytest.fixture
def study(llama: Path, short_texts: Path, other_texts: Path) -> Callable[..., Study]:
    """A study of a tiny model with documents of its own to calibrate on."""

    def make(*compressions: str, **settings: Any) -> Study:
        fields: dict[str, Any] = {
            "controls": (),
            "analyses": ("behaviour",),
            "text": str(short_texts),
            "calibration": str(other_texts),
        }
        model = settings.pop("model", llama)
        return audit_of(str(model), compressions, **{**fields, **settings})

    return make
