"""Weights and inputs in eight bits, with scales."""

from collections.abc import Callable

import pytest
import torch

from bitlens.compression.compression import CompressedMatrix, MatrixGroup
from bitlens.compression.methods.w8a8 import Fp8, W8a8
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


def fp8(matrix: LinearMap, largest: list[float] | None = None, **settings: str) -> CompressedMatrix:
    inputs = (
        None
        if largest is None
        else InputStatistics(count=torch.tensor(1), max_abs=torch.tensor(largest))
    )
    return Fp8(**settings).compress(MatrixGroup([matrix], 0, inputs=inputs))[0]


def test_rows_by_hand(one: Callable[..., LinearMap]) -> None:
    """448 is the largest of the first row: its scale is 1, and 17, half way from 16 to 18, goes
    to the even 16. The second row is a tenth of it. Per tensor, the first row's scale is both's:
    between 1 and 2 steps are 1/8."""
    matrix = one([[448, 17, -19], [44.8, 1.7, -1.9]])
    torch.testing.assert_close(fp8(matrix).weight, torch.tensor([[448, 16, -20], [44.8, 1.6, -2]]))
    tensor = fp8(matrix, scope="tensor")
    torch.testing.assert_close(tensor.weight, torch.tensor([[448, 16, -20], [44, 1.75, -1.875]]))
    assert fp8(matrix).bits == pytest.approx(8 + 16 / 3, abs=1e-12)
    assert tensor.bits == pytest.approx(8 + 16 / 6, abs=1e-12)


def test_e5m2_by_hand(one: Callable[..., LinearMap]) -> None:
    """57344 is its largest; between 16 and 32 its steps are 4."""
    out = fp8(one([[57344, 17, 23]]), dtype="float8_e5m2")
    assert out.weight.tolist() == [[57344, 16, 24]]
    assert out.activations is not None
    assert out.activations.format == "float8_e5m2"


def test_whole_numbers_by_hand(one: Callable[..., LinearMap]) -> None:
    """127 is the largest of the first row: its step is 1, and 2.5 goes to the even 2; the second's
    is a tenth of it, and so are the inputs' of a position."""
    out = W8a8().compress(MatrixGroup([one([[127, 2.5, -3.6], [12.7, 0.24, 0.36]])], 0))[0]
    torch.testing.assert_close(out.weight, torch.tensor([[127, 2, -4], [12.7, 0.2, 0.4]]))
    assert out.activations is not None
    rounded = out.activations.round(torch.tensor([[[12.7, 0.24, 0.36]]]))
    torch.testing.assert_close(rounded, torch.tensor([[[12.7, 0.2, 0.4]]]))


def test_blocks_by_hand(one: Callable[..., LinearMap]) -> None:
    """Tiles of 128 rows and columns, at the edges what is left: of 130 rows and 200 columns four,
    16 bits each. One weight of 127 in each makes its step 1; inputs have two blocks."""
    weight = torch.full((130, 200), 0.6)
    weight[0, 0], weight[128, 199] = 127, 12.7
    out = W8a8(scope="block", activations="block").compress(MatrixGroup([one(weight)], 0))[0]
    assert out.bits == pytest.approx(8 + 16 * 4 / (130 * 200), abs=1e-12)
    assert out.group == 128
    # Each without an outlier has steps of 0.6/127, of which 0.6 is the 127th.
    expected = weight.clone()
    expected[:128, :128] = 1
    expected[0, 0] = 127
    torch.testing.assert_close(out.weight, expected)
    x = torch.full((1, 1, 200), 0.6)
    x[..., 0] = 127
    assert out.activations is not None
    rounded = out.activations.round(x)[0, 0]
    torch.testing.assert_close(rounded[:128], torch.tensor([127.0, *[1.0] * 127]))
    torch.testing.assert_close(rounded[128:], torch.full((72,), 0.6))


def test_a_scale_saves_what_a_cast_loses(one: Callable[..., LinearMap]) -> None:
    """Weights of 1e-4 are below float8's smallest step; with a scale they keep their digits."""
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(0)) * 1e-4
    assert not weight.to(torch.float8_e4m3fn).float().any()
    out = fp8(one(weight)).weight
    assert torch.dist(out, weight) < 0.04 * weight.norm()


def test_activations(one: Callable[..., LinearMap]) -> None:
    """Each position has its own scale, or all have the one of the largest input of calibration,
    or inputs are left alone; only the second needs data."""
    matrix = one([[1.0, 2.0]])
    token, none = fp8(matrix).activations, fp8(matrix, activations="none").activations
    assert none is None
    assert token is not None
    assert token.largest is None
    tensor = fp8(matrix, [0.5, 7.0], activations="tensor").activations
    assert tensor is not None
    assert tensor.largest is not None
    assert tensor.largest.item() == 7.0
    # A scale of 1/64: 9 is clipped, 3.4 is 217.6, and from 128 to 256 steps are 16.
    out = tensor.round(torch.tensor([[[9.0, -3.4]]]))
    torch.testing.assert_close(out, torch.tensor([[[7, -224 / 64]]]))
    assert not Fp8().statistics
    assert Fp8(activations="tensor").statistics == {"max_abs"}
    with pytest.raises(ValueError, match="calibrated"):
        fp8(matrix, activations="tensor")


def test_experts_are_matrices(matrices: list[LinearMap]) -> None:
    """A fused expert tensor is rounded expert by expert, each with inputs of its own."""
    for scope in ("row", "tensor"):
        apart = [
            fp8(LinearMap("expert", expert), scope=scope).weight for expert in matrices[-1].weight
        ]
        assert torch.equal(fp8(matrices[-1], scope=scope).weight, torch.stack(apart))
    largest = torch.arange(96.0).view(3, 32)
    inputs = InputStatistics(count=torch.tensor([5, 6, 7]), max_abs=largest)
    result = Fp8(activations="tensor").compress(MatrixGroup([matrices[-1]], 0, inputs=inputs))[0]
    assert result.activations is not None
    assert result.activations.largest is not None
    assert result.activations.largest.tolist() == [31, 63, 95]


def test_settings_out_of_range() -> None:
    """A format that there is not is refused."""
    with pytest.raises(BitlensError, match="float8_e5m2"):
        Fp8(dtype="float8_e3m4")
