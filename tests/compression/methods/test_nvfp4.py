"""NVFP4. That it is bit-equal to a library's is in against/test_block_floats."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bitlens.compression.compression import CompressedMatrix, MatrixGroup
from bitlens.compression.methods.nvfp4 import Nvfp4
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


def block(*start: float) -> list[float]:
    """A block of 16 that starts with these weights and goes on with zeros."""
    return [*start, *[0.0] * (16 - len(start))]


def made(matrix: LinearMap, largest: float = 1.0, **settings: str) -> CompressedMatrix:
    width = matrix.weight.shape[-1]
    inputs = InputStatistics(count=torch.tensor(1), max_abs=torch.full((width,), largest))
    return Nvfp4(**settings).compress(MatrixGroup([matrix], 0, inputs=inputs))[0]


def nvfp4(matrix: LinearMap) -> Tensor:
    return made(matrix).weight


def test_blocks_by_hand(one: Callable[..., LinearMap]) -> None:
    """2688 is 6 times 448: the scale for all is 1, and the first block's is 448. The second's is
    6/6, and 5, half way, goes to the even 4. The third's is 6.2/6, of which e4m3 makes 1: 6.2 is
    cut off. The fourth's is 7/6, which goes to 9/8: 7 is 6.2 of it, 3 is 2.7."""
    weight = [
        block(2688, 448) + block(6, 5, 3.4, 0.25, -2.5),
        block(6.2, -0.3) + block(7, 3),
    ]
    expected = [
        block(2688, 448) + block(6, 4, 3, 0, -2),
        block(6, -0.5) + block(6.75, 3.375),
    ]
    assert nvfp4(one(weight)).tolist() == expected


def test_bits_by_hand(one: Callable[..., LinearMap]) -> None:
    """Four bits, eight for 16, and 32 for the 4 times 64 of the matrix."""
    result = made(one(torch.ones(4, 64)))
    assert (result.bits, result.group) == (4 + 0.5 + 0.125, 16)


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-39])
def test_blocks_without_a_scale_are_zero(one: Callable[..., LinearMap], size: float) -> None:
    """A block of zeros, or one too small beside the matrix's largest for e4m3 to have a scale, is
    0; of nothing else, never NaN."""
    small = torch.full((2, 32), size)
    assert torch.isfinite(nvfp4(one(small))).all()
    small[0, 0] = 1.0
    out = nvfp4(one(small))
    assert out[0, 0] == 1.0
    assert not out[1].any()


def test_inputs_by_hand(one: Callable[..., LinearMap]) -> None:
    """Calibration met 2688, 6 times 448: the scale for all is 1, that of a block e4m3's nearest to
    its largest over 6, 448 at most, so that 6000 is cut off. Where each position has its own, one
    of 6 is 448, and every block's scale is finer: 6.2 is 384 of them and 0.3 of 16 becomes 0.4."""
    matrix = one(torch.ones(1, 16))
    x = torch.tensor([[block(6000, 448), block(6.2, 5, 0.3)]])
    fixed = made(matrix, 2688.0, activations="tensor").activations
    assert fixed is not None
    assert fixed.round(x).tolist() == [[block(2688, 448), block(6, 4, 0.5)]]
    own = made(matrix, activations="token").activations
    assert own is not None
    # Each vector is a block: its largest is 6 times its scale, which is 448 of 448.
    expected = torch.tensor([[block(6000, 500), block(6.2, 6.2 * 4 / 6, 6.2 * 0.5 / 6)]])
    torch.testing.assert_close(own.round(x), expected)
    assert made(matrix).activations is None


def test_experts_are_matrices(matrices: list[LinearMap]) -> None:
    """Each expert has the scale of its own largest weight."""
    apart = [nvfp4(LinearMap("expert", expert)) for expert in matrices[-1].weight]
    assert torch.equal(nvfp4(matrices[-1]), torch.stack(apart))


def test_widths_that_are_no_whole_blocks() -> None:
    """There are no short blocks: such a map is refused by name."""
    with pytest.raises(BitlensError) as error:
        nvfp4(LinearMap("layers.0.mlp.up_proj", torch.ones(2, 24)))
    assert "the 24 input columns of layers.0.mlp.up_proj" in error.value.found
    assert "exclude=[layers.0.mlp.up_proj]" in error.value.remedy
