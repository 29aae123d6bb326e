"""Values of each row's own, and weights that are kept."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bitlens.compression.compression import CompressedMatrix, MatrixGroup
from bitlens.compression.methods.squeezellm import SqueezeLlm
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


def squeezed(matrix: LinearMap, square: object, **settings: float) -> CompressedMatrix:
    inputs = InputStatistics(
        count=torch.tensor(9), mean_square=torch.as_tensor(square, dtype=torch.float32)
    )
    return SqueezeLlm(**{"bits": 2, **settings}).compress(MatrixGroup([matrix], 0, inputs=inputs))[
        0
    ]


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_by_hand(one: Callable[..., LinearMap]) -> None:
    """Of five weights and four values 0 and 1 share one: at 0.75 where the input of the second has
    three times the mean square of the first's."""
    out = squeezed(one([[0, 1, 10, 20, 100]]), [1, 3, 1, 1, 1], outliers=0).weight
    assert torch.allclose(out, torch.tensor([[0.75, 0.75, 10, 20, 100]]))


def test_kept_by_hand(one: Callable[..., LinearMap]) -> None:
    """A fifth of ten weights are the two of largest magnitude, both in the first row; they are
    kept, and no value is spent on them. In the second row the two nearest share one."""
    weight = [[-100.5, 1, 2, 3, 70.25], [1, 1.5, 5, 7, 9]]
    out = squeezed(one(weight), [1.0] * 5, outliers=0.2).weight
    assert torch.allclose(out, torch.tensor([[-100.5, 1, 2, 3, 70.25], [1.25, 1.25, 5, 7, 9]]))


def test_rows_have_no_more_values_than_codes() -> None:
    """And each weight has the nearest of its row's."""
    weight = drawn(40, 300)
    out = squeezed(LinearMap("m", weight), torch.rand(300) + 0.1, bits=3, outliers=0).weight
    for row, became in zip(weight, out, strict=True):
        values = became.unique()
        assert len(values) <= 8
        nearest = (row[:, None] - values).abs().amin(-1)
        assert torch.allclose((row - became).abs(), nearest, atol=1e-6)


def test_inputs_that_are_large_are_served_first() -> None:
    """The error that the outputs see is less than where all inputs count alike."""
    weight, square = drawn(64, 256), torch.logspace(-3, 1, 256)

    def seen(counted: Tensor) -> Tensor:
        out = squeezed(LinearMap("m", weight), counted, bits=3).weight
        return ((out - weight) ** 2 * square).sum()

    assert seen(square) < 0.8 * seen(torch.ones(256))


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are found their values alone, however many are at work at a time."""
    matrix, square = LinearMap("m", drawn(50, 64)), drawn(64) ** 2
    whole = squeezed(matrix, square).weight
    monkeypatch.setattr("bitlens.compression.methods.squeezellm._PIECE", 200)
    assert torch.equal(squeezed(matrix, square).weight, whole)


def test_experts_have_inputs_of_their_own() -> None:
    """A fused map is its experts, each with its own mean squares and its own share of what is
    kept, however large the weights of the others are."""
    fused = drawn(3, 20, 64) * torch.tensor([1.0, 9, 81]).view(3, 1, 1)
    square = drawn(3, 64) ** 2
    apart = [
        squeezed(LinearMap("expert", expert), own, outliers=0.01).weight
        for expert, own in zip(fused, square, strict=True)
    ]
    together = squeezed(LinearMap("experts", fused), square, outliers=0.01).weight
    assert torch.equal(together, torch.stack(apart))


@pytest.mark.parametrize("square", [torch.zeros(32), torch.arange(32) % 2 * 1.0])
def test_inputs_that_were_never_seen(square: Tensor) -> None:
    """Columns whose inputs were all zero still get values near theirs."""
    weight = drawn(8, 32)
    out = squeezed(LinearMap("m", weight), square, bits=4, outliers=0).weight
    assert torch.isfinite(out).all()
    assert (out - weight).abs().mean() < 0.2


@pytest.mark.parametrize(
    ("settings", "dtype", "bits"),
    [
        ({"bits": 3, "outliers": 0}, torch.float32, 3 + 16 * 8 / 128),
        ({"bits": 4}, torch.float32, 4 + 16 * 16 / 128 + 58 / 12800 * (32 + 32)),
        ({"bits": 4}, torch.bfloat16, 4 + 16 * 16 / 128 + 58 / 12800 * (16 + 32)),
    ],
)
def test_bits_by_hand(settings: dict, dtype: torch.dtype, bits: float) -> None:
    """A code, a row's values of 16 bits for its 128 weights, and for each of round(0.0045 * 12800)
    = 58 weights what it is stored in and 32 bits of a place."""
    result = squeezed(LinearMap("m", drawn(100, 128).to(dtype)), torch.ones(128), **settings)
    assert result.bits == pytest.approx(bits, abs=1e-12)
    assert result.group == 0


def test_calibrated_on_the_reference() -> None:
    """It needs mean squares and nothing else, and says so where they are not given."""
    method = SqueezeLlm(bits=4)
    assert method.statistics == {"mean_square"}
    assert not method.sequential
    with pytest.raises(ValueError, match="mean_square"):
        method.compress(MatrixGroup([LinearMap("m", drawn(2, 2))], 0))


@pytest.mark.parametrize(
    "settings", [{"bits": 1}, {"bits": 9}, {"outliers": -0.1}, {"outliers": 1.0}]
)
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    """Bits and shares there cannot be are refused."""
    with pytest.raises(BitlensError, match="squeezellm"):
        SqueezeLlm(**{"bits": 4, **settings})
