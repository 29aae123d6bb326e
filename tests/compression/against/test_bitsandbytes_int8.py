"""LLM.int8 against bitsandbytes, where it is installed.

It rounds weights and inputs to float16 first, whatever the dtype; here they are such numbers. Only
in evaluation mode does it round inputs at all.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from bitlens.compression.compression import CompressedMatrix, MatrixGroup
from bitlens.compression.methods.int8 import Int8
from bitlens.models.matrices import LinearMap

pytestmark = pytest.mark.against


@pytest.fixture(scope="module")
def bnb() -> Any:
    return pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")


def drawn(*shape: int, seed: int) -> Tensor:
    """Random float16 numbers, as float32."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random).half().float()


def both(bnb: Any, weight: Tensor, threshold: float) -> tuple[Any, CompressedMatrix]:
    rows, columns = weight.shape
    layer = bnb.nn.Linear8bitLt(
        columns, rows, bias=False, has_fp16_weights=False, threshold=threshold
    )
    layer.weight = bnb.nn.Int8Params(weight.clone(), requires_grad=False, has_fp16_weights=False)
    ours = Int8(threshold=threshold).compress(MatrixGroup([LinearMap("m", weight)], 0))[0]
    return layer.to("cpu").eval(), ours


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_are_bit_equal(bnb: Any, dtype: torch.dtype) -> None:
    """Of a million weights every int8 code is the same, and every scale."""
    weight = drawn(1024, 1024, seed=0).to(dtype)
    layer, ours = both(bnb, weight, 6.0)
    largest = weight.float().abs().amax(-1)
    assert torch.equal(layer.weight.SCB, largest)
    assert torch.equal((ours.weight / (largest / 127).unsqueeze(-1)).round(), layer.weight.CB)


@pytest.mark.parametrize("threshold", [6.0, 3.0, 0.0])
def test_the_layer_gives_the_same(bnb: Any, threshold: float) -> None:
    """With and without outliers, one of them exactly at the threshold, the layer's output is the
    product of rounded inputs and weights, to the five digits of the constant 1/127^2 in
    bitsandbytes: it is 1.8e-5 too large."""
    layer, ours = both(bnb, drawn(256, 512, seed=1), threshold)
    x = drawn(1, 64, 512, seed=2)
    x[..., 7] *= 8
    x[0, 3, 100] = threshold
    assert ours.activations is not None
    mine = ours.activations.round(x) @ ours.weight.T
    assert torch.dist(layer(x), mine) < 3e-5 * mine.norm()
    exact = x @ ours.weight.T
    assert torch.dist(mine, exact) > 1e-3 * exact.norm()


def test_one_position(bnb: Any) -> None:
    """A call of a single position, as when text is generated, is no exception."""
    layer, ours = both(bnb, drawn(64, 128, seed=3), 2.0)
    x = drawn(1, 1, 128, seed=4)
    assert ours.activations is not None
    mine = ours.activations.round(x) @ ours.weight.T
    assert torch.dist(layer(x), mine) < 3e-5 * mine.norm()


def test_in_training_mode_it_rounds_no_inputs(bnb: Any) -> None:
    """What is compared here is its evaluation mode: in training mode it multiplies the unrounded
    inputs."""
    layer, ours = both(bnb, drawn(256, 512, seed=1), 6.0)
    x = drawn(1, 64, 512, seed=2)
    unrounded = x @ ours.weight.T
    layer.train()
    with torch.no_grad():
        assert torch.dist(layer(x), unrounded) < 1e-3 * unrounded.norm()
