"""Half-quadratic quantization against the library hqq."""

import pytest
import torch
from torch import Tensor

from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.hqq import Hqq
from bitlens.models.matrices import LinearMap

quantize = pytest.importorskip("hqq.core.quantize", reason="pip install hqq")
pytestmark = pytest.mark.against


def theirs(weight: Tensor, bits: int, group: int) -> Tensor:
    codes, meta = quantize.Quantizer.quantize(
        weight, nbits=bits, group_size=group, axis=1, bitpack=False, device="cpu"
    )
    return quantize.Quantizer.dequantize(codes, {**meta, "compute_dtype": torch.float32})


def ours(weight: Tensor, bits: int, group: int) -> Tensor:
    return Hqq(bits=bits, group=group).compress(MatrixGroup([LinearMap("m", weight)], 0))[0].weight


def drawn(size: float) -> Tensor:
    return torch.randn(512, 1024, generator=torch.Generator().manual_seed(0)) * size


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("group", [16, 64, 128])
def test_equal_where_weights_are_of_a_models_size(bits: int, group: int) -> None:
    """Every weight is the same number where no error is kept, which is where they are below 0.17:
    in models."""
    weight = drawn(0.02)
    weight[:3] = torch.tensor([0.0, 0.01, -3e-6]).view(3, 1)
    assert torch.equal(ours(weight, bits, group), theirs(weight, bits, group))


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("size", [1.0, 5.0])
def test_equal_codes_where_errors_are_kept(bits: int, size: float) -> None:
    """Of weights that large all but one in 100,000 have the same code, and the mean |error| is the
    same: the order of operations differs, which decides what rounds where."""
    weight = drawn(size)
    one, two = ours(weight, bits, 64), theirs(weight, bits, 64)
    groups = weight.view(-1, 64)
    step = (groups.amax(-1) - groups.amin(-1)) / (2**bits - 1)
    assert ((one - two).view(-1, 64).abs() > 0.5 * step[:, None]).float().mean() < 1e-5
    torch.testing.assert_close((one - weight).abs().mean(), (two - weight).abs().mean())
