"""SmoothQuant: the scale by hand, what maps of a group share, and that it does what it is for."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bitlens.compression.compression import CompressedMatrix, MatrixGroup
from bitlens.compression.methods.smoothquant import SmoothQuant
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


def smoothed(
    matrices: list[LinearMap], largest: object, **settings: object
) -> list[CompressedMatrix]:
    inputs = InputStatistics(
        count=torch.tensor(9), max_abs=torch.as_tensor(largest, dtype=torch.float32)
    )
    return SmoothQuant(**settings).compress(MatrixGroup(matrices, 0, inputs=inputs))


def scale(result: CompressedMatrix) -> Tensor:
    assert result.activations is not None
    assert result.activations.smooth is not None
    return result.activations.smooth


def plainly(weight: Tensor, dims: tuple[int, ...]) -> Tensor:
    """int8 by the largest magnitude over these axes, the plain way."""
    step = weight.abs().amax(dims, keepdim=True) / 127
    return (weight / step).round() * step


def random_group(rows: tuple[int, ...], width: int = 24) -> list[LinearMap]:
    random = torch.Generator().manual_seed(len(rows))
    return [LinearMap(f"m{i}", torch.randn(n, width, generator=random)) for i, n in enumerate(rows)]


def test_the_scale_by_hand(one: Callable[..., LinearMap]) -> None:
    """Inputs up to 16 and 1, weights up to 4 and 1: s is sqrt(16 / 4) = 2 and sqrt(1 / 1) = 1, so
    W s is [8, 0.5; -4, 1]; rows have steps 8/127 and 4/127."""
    result = smoothed([one([[4, 0.5], [-2, 1]])], [16, 1])[0]
    assert scale(result).tolist() == [2, 1]
    expected = torch.tensor([[8, 8 * 8 / 127], [-4, 32 * 4 / 127]]) / torch.tensor([2, 1])
    torch.testing.assert_close(result.weight, expected)
    assert result.bits == 8 + 16 / 2


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0.0, [1 / 4, 1]), (1.0, [16, 1]), (0.75, [8 / 4**0.25, 1])]
)
def test_alpha_by_hand(one: Callable[..., LinearMap], alpha: float, expected: list[float]) -> None:
    """alpha 0 looks at the weights alone, 1 at the inputs alone; 16^0.75 is 8."""
    result = smoothed([one([[4, 0.5], [-2, 1]])], [16, 1], alpha=alpha)[0]
    assert scale(result).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("rows", [(8, 8), (12, 4, 4)])
def test_maps_of_a_group_share_the_scale(rows: tuple[int, ...]) -> None:
    """Two or three maps that read one input are smoothed as if they were one matrix, and each
    row's rounding is its own."""
    matrices = random_group(rows)
    largest = torch.linspace(0.1, 30, 24)
    together = LinearMap("together", torch.cat([matrix.weight for matrix in matrices]))
    apart = smoothed(matrices, largest)
    whole = smoothed([together], largest)[0]
    for result in apart:
        assert torch.equal(scale(result), scale(whole))
    assert torch.equal(torch.cat([result.weight for result in apart]), whole.weight)
    alone = smoothed(matrices[:1], largest)[0]
    assert not torch.equal(scale(alone), scale(whole))


@pytest.mark.parametrize("scope", ["row", "tensor"])
@pytest.mark.parametrize("activations", ["token", "tensor"])
def test_agrees_with_its_definition(scope: str, activations: str) -> None:
    """The product of rounded inputs and weights is the int8 product of x / s and W s, restated
    plainly, whichever share scales."""
    matrix = random_group((16,))[0]
    x = torch.randn(3, 10, 24, generator=torch.Generator().manual_seed(4)) * torch.logspace(
        -1, 1.5, 24
    )
    largest = x.abs().amax((0, 1))
    result = smoothed([matrix], largest, scope=scope, activations=activations)[0]
    s = largest.sqrt() / matrix.weight.abs().amax(0).sqrt()
    weight = plainly(matrix.weight * s, (-1,) if scope == "row" else (-2, -1))
    inputs = plainly(x / s, (-1,) if activations == "token" else (-3, -2, -1))
    assert result.activations is not None
    product = result.activations.round(x) @ result.weight.T
    torch.testing.assert_close(product, inputs @ weight.T, rtol=1e-4, atol=1e-3)
    assert result.bits == 8 + 16 / (24 if scope == "row" else 24 * 16)


def test_it_lowers_the_error_that_outlying_columns_make() -> None:
    """With two columns a hundred times the others, smoothing halves the output error at least."""
    matrix = random_group((16,))[0]
    x = torch.randn(1, 200, 24, generator=torch.Generator().manual_seed(4))
    x[..., :2] *= 100
    result = smoothed([matrix], x.abs().amax((0, 1)))[0]
    assert result.activations is not None
    exact = x @ matrix.weight.T
    plain = plainly(x, (-1,)) @ plainly(matrix.weight, (-1,)).T
    error = torch.dist(result.activations.round(x) @ result.weight.T, exact)
    assert error < 0.5 * torch.dist(plain, exact)


def test_columns_that_calibration_never_saw(one: Callable[..., LinearMap]) -> None:
    """They keep s = 1, and a value there later leaves the other inputs their digits; weights of
    zero count as 1e-5."""
    result = smoothed([one([[4, 0.5, 0], [-2, 1, 0]])], [16, 0, 1e-5])[0]
    assert scale(result).tolist() == pytest.approx([2, 1, 1])
    assert torch.isfinite(result.weight).all()
    assert not result.weight[:, 2].any()
    assert result.activations is not None
    out = result.activations.round(torch.tensor([[[16.0, 3, 0]]]))
    torch.testing.assert_close(out, torch.tensor([[[16, 48 * 8 / 127, 0]]]))


def test_experts_are_matrices(matrices: list[LinearMap]) -> None:
    """Each expert is smoothed by its own inputs."""
    fused = matrices[-1]
    largest = torch.rand(3, 32, generator=torch.Generator().manual_seed(5))
    inputs = InputStatistics(count=torch.tensor([5, 6, 7]), max_abs=largest)
    for settings in ({}, {"scope": "tensor", "activations": "tensor"}):
        result = SmoothQuant(**settings).compress(MatrixGroup([fused], 0, inputs=inputs))[0]
        assert result.activations is not None
        for index, expert in enumerate(fused.weight):
            own = smoothed([LinearMap("expert", expert)], largest[index], **settings)[0]
            assert torch.equal(result.weight[index], own.weight)
            x = torch.randn(4, 32, generator=torch.Generator().manual_seed(index))
            assert own.activations is not None
            assert torch.equal(result.activations.expert(index).round(x), own.activations.round(x))


def test_stored_otherwise(matrices: list[LinearMap]) -> None:
    """Transposed views and bfloat16 give what their values give."""
    largest = torch.linspace(0.5, 2, 64)
    transposed = matrices[6].weight
    assert transposed.shape == (64, 16)
    plain = LinearMap("plain", transposed.contiguous())
    expected = smoothed([plain], largest[:16])[0].weight
    assert torch.equal(smoothed([matrices[6]], largest[:16])[0].weight, expected)
    half = LinearMap("half", transposed.bfloat16())
    widened = LinearMap("widened", half.weight.float())
    expected = smoothed([widened], largest[:16])[0].weight
    assert torch.equal(smoothed([half], largest[:16])[0].weight, expected)


def test_refusals(one: Callable[..., LinearMap]) -> None:
    """alpha is a share; and without its inputs it cannot be made."""
    with pytest.raises(BitlensError, match=r"alpha is 1\.5"):
        SmoothQuant(alpha=1.5)
    with pytest.raises(ValueError, match="calibrated"):
        SmoothQuant().compress(MatrixGroup([one([[1.0]])], 0))
