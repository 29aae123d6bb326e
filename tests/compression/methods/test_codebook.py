"""Blocks rounded to a table of sixteen values."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from bitlens.compression import parse_spec
from bitlens.compression.compression import CompressedMatrix, MatrixGroup
from bitlens.compression.methods.codebook import Codebook, Fp4, Nf4
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


def rounded(matrix: LinearMap, text: str = "nf4") -> CompressedMatrix:
    return parse_spec(text).compress(MatrixGroup([matrix], 0))[0]


def nearest(weight: Tensor, table: tuple[float, ...], block: int) -> np.ndarray:
    """The plain way, block by block, in float64."""
    values, flat = np.array(table), weight.double().numpy().ravel().copy()
    for start in range(0, len(flat), block):
        part = flat[start : start + block]
        scale = abs(part).max()
        distance = abs(part[:, None] / (scale or 1) - values)
        flat[start : start + block] = values[distance.argmin(-1)] * scale
    return flat.reshape(weight.shape)


def test_nf4_by_hand(one: Callable[..., LinearMap]) -> None:
    """[2, -1, 0.3, 0] is [1, -0.5, 0.15, 0] of its largest, which become 1, -0.525, 0.161, 0."""
    out = rounded(one([[2, -1, 0.3, 0]]), "nf4:block=4").weight
    assert torch.allclose(out, torch.tensor([[2, -1.0501461, 0.3218604, 0]]))


def test_fp4_by_hand(one: Callable[..., LinearMap]) -> None:
    """With 12 the largest, weights become the nearest of 0, 1/16, 2, 3, 4, 6, 8 and 12."""
    out = rounded(one([[12, -5.5, 3.4, 0.08]]), "fp4:block=4").weight
    assert torch.allclose(out, torch.tensor([[12, -6, 3, 1 / 16]]))


def test_nf4_holds_quantiles_of_a_normal() -> None:
    """The recipe of the paper: nine evenly spaced probabilities from 0.5 up and eight down, the
    outermost half way between 1 - 1/32 and 1 - 1/30, divided by the largest."""
    outermost = 1 - (1 / 32 + 1 / 30) / 2
    above = norm.ppf(np.linspace(outermost, 0.5, 9)[:-1])
    below = -norm.ppf(np.linspace(outermost, 0.5, 8)[:-1])
    recipe = np.sort([*above, 0, *below]) / above.max()
    assert np.allclose(Nf4.table, recipe, atol=2e-7)


@pytest.mark.parametrize("kind", [Nf4, Fp4])
@pytest.mark.parametrize("block", [1, 7, 16, 64, 10_000])
def test_every_weight_becomes_the_nearest_value(kind: type[Codebook], block: int) -> None:
    """Whatever the block, a short last one and one longer than the matrix among them."""
    weight = torch.randn(9, 50, generator=torch.Generator().manual_seed(block))
    out = kind(block=block).compress(MatrixGroup([LinearMap("m", weight)], 0))[0].weight
    assert np.allclose(out.numpy(), nearest(weight, kind.table, block), rtol=1e-5, atol=1e-8)


def test_halfway_goes_to_the_lower_value(one: Callable[..., LinearMap]) -> None:
    """At the middle of two values, in float32, it is the lower one; just above, the upper one."""
    table = torch.tensor(Nf4.table)
    middles = (table[:-1] + table[1:]) / 2
    ones = torch.ones(15)
    above = middles.nextafter(2 * ones)
    out = rounded(one(torch.stack([ones, middles, ones, above], -1)), "nf4:block=4").weight
    assert torch.equal(out[:, 1], table[:-1])
    assert torch.equal(out[:, 3], table[1:])


def test_blocks_run_on_from_row_to_row(one: Callable[..., LinearMap]) -> None:
    """With rows of three and blocks of two, the third weight shares a scale with the fourth; such
    columns share none, while a block that divides the row is a group of columns."""
    out = rounded(one([[1, 1, 0.3], [100, 1, 1]]), "nf4:block=2")
    assert out.weight[0, 2] == 0
    assert out.group == 0
    assert rounded(one(np.ones((2, 4))), "nf4:block=2").group == 2
    assert rounded(one(np.ones((2, 4))), "nf4:block=8").group == 0


@pytest.mark.parametrize("text", ["nf4", "fp4:block=24", "nf4:block=16,double=true"])
def test_experts_are_matrices(text: str) -> None:
    """No block, and no scale of scales, is shared between experts."""
    fused = torch.randn(5, 7, 130, generator=torch.Generator().manual_seed(0))
    fused *= torch.logspace(-2, 2, 5).view(-1, 1, 1)
    apart = [rounded(LinearMap("expert", expert), text).weight for expert in fused]
    assert torch.equal(rounded(LinearMap("experts", fused), text).weight, torch.stack(apart))


def test_transposed_storage_changes_nothing(matrices: list[LinearMap]) -> None:
    """What GPT-2 stores [in, out] gives what the same map stored [out, in] gives."""
    transposed = matrices[6]
    plain = LinearMap("plain", transposed.weight.contiguous())
    assert torch.equal(rounded(transposed).weight, rounded(plain).weight)


@pytest.mark.parametrize("text", ["nf4:block=4", "nf4:block=4,double=true", "fp4:block=3"])
def test_blocks_of_zeros_stay_zero(one: Callable[..., LinearMap], text: str) -> None:
    """A block without a scale divides nothing by zero, the last and short one included; with
    scales that are quantized, what is zero stays zero too."""
    weight = torch.zeros(2, 11)
    weight[0, :4] = torch.tensor([1, -2, 3, 0.5])
    out = rounded(one(weight), text).weight
    assert torch.equal(out == 0, weight == 0)


def test_scales_quantized_by_hand(one: Callable[..., LinearMap]) -> None:
    """Scales 1, 2 and 6 have the mean 3 and less it -2, -1 and 3, of 3 the shares -2/3, -1/3 and
    1. The table's upper half is 64 middles of [0.1, 1], 0.9/64 apart from 0.1 + 0.45/64: nearest
    are -0.669531, -0.332031 and 1, which give the scales 0.991406, 2.003906 and 6."""
    out = rounded(one([[1, 0, 2, 0, 6, 0]]), "nf4:block=2,double=true").weight
    assert torch.allclose(out, torch.tensor([[0.991406, 0, 2.003906, 0, 6, 0]]), atol=1e-6)


def test_scales_are_quantized_256_at_a_time() -> None:
    """A large scale makes the others of its own 256 coarse, and no others but by the mean."""
    weight = torch.ones(600, 4) + 0.1 * torch.rand(600, 1, generator=torch.manual_seed(0))
    weight[300] = 1000
    out = rounded(LinearMap("m", weight), "nf4:block=4,double=true").weight
    off = (out - weight).abs()[:, 0]
    assert off[256:512].median() > 10 * off[:256].median()


@pytest.mark.parametrize(
    ("text", "shape", "bits"),
    [
        ("nf4", (64, 128), 4 + 32 / 64),
        ("fp4:block=32", (64, 128), 4 + 32 / 32),
        ("nf4", (3, 65), 4 + 32 * 4 / 195),
        ("nf4:double=true", (128, 128), 4 + 8 / 64 + 32 / (64 * 256) + 32 / 128**2),
        ("nf4:block=32,double=true", (2, 3, 40), 4 + (8 * 4 + 32 + 32) / 120),
    ],
)
def test_bits_by_hand(text: str, shape: tuple[int, ...], bits: float) -> None:
    """Four a weight, 32 a scale; of double quantization 8 a scale, 32 for 256 of them and 32 for
    their mean. 195 weights have four scales, 120 of an expert four of 32."""
    assert rounded(LinearMap("m", torch.ones(shape)), text).bits == pytest.approx(bits, abs=1e-12)


def test_scales_of_half_precision_weights(one: Callable[..., LinearMap]) -> None:
    """Weights in bfloat16 are rounded as the float32 numbers they are."""
    weight = torch.randn(8, 64, generator=torch.manual_seed(0)).bfloat16()
    stored = rounded(LinearMap("m", weight)).weight
    assert torch.equal(stored, rounded(LinearMap("m", weight.float())).weight)


@pytest.mark.parametrize("block", [0, -64])
def test_a_block_that_is_none(block: int) -> None:
    """A block holds at least one weight."""
    with pytest.raises(BitlensError) as error:
        Nf4(block=block)
    assert f"nf4: block is {block}" in error.value.found
    assert error.value.remedy == "nf4:block=64"
