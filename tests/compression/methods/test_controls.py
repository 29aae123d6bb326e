"""Controls: nothing, and noise with the energy it claims."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from bitlens.compression import parse_spec
from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.controls import Noise, Nothing
from bitlens.compression.methods.rtn import Rtn
from bitlens.models.matrices import LinearMap


def by_expert(weight: torch.Tensor) -> np.ndarray:
    """`[expert, out, in]`, in float64."""
    return weight.double().numpy().reshape(-1, *weight.shape[-2:])


@pytest.mark.parametrize(
    "like",
    ["rtn:bits=2", "rtn:bits=8,group=8", "prune:sparsity=0.3,scope=global", "cast:dtype=fp8"],
)
def test_noise_has_the_error_it_is_like(matrices: list[LinearMap], like: str) -> None:
    """Matrix by matrix and expert by expert, the relative Frobenius error is the other's."""
    noise, other = parse_spec(f"noise:like=[{like}]"), parse_spec(like)
    prepare = noise.prepare(lambda: matrices)
    noisy, damaged = (
        noise.compress(MatrixGroup(matrices, 0, prepare)),
        other.compress(MatrixGroup(matrices, 0, prepare)),
    )
    for matrix, one, two in zip(matrices, noisy, damaged, strict=True):
        before, after, model = (by_expert(w) for w in (matrix.weight, one.weight, two.weight))
        for reference, control, twin in zip(before, after, model, strict=True):
            size = np.linalg.norm(reference)
            assert np.linalg.norm(control - reference) / size == pytest.approx(
                np.linalg.norm(twin - reference) / size, rel=2e-6
            )
        assert one.bits == two.bits


def test_noise_is_gaussian_and_independent() -> None:
    """Scaled to unit variance it passes for a standard normal, and is unrelated to the weights,
    to the rounding error and to the noise of another matrix."""
    random = torch.Generator().manual_seed(0)
    matrices = [LinearMap(name, torch.randn(100, 200, generator=random)) for name in ("a", "b")]
    errors = [
        (result.weight - matrix.weight).flatten().double().numpy()
        for matrix, result in zip(
            matrices, Noise(like=Rtn(bits=3)).compress(MatrixGroup(matrices, 0)), strict=True
        )
    ]
    rounding = Rtn(bits=3).compress(MatrixGroup(matrices, 0))[0].weight - matrices[0].weight
    assert stats.kstest(errors[0] / errors[0].std(), "norm").pvalue > 0.01
    for other in (errors[1], rounding.flatten().numpy(), matrices[0].weight.flatten().numpy()):
        assert abs(np.corrcoef(errors[0], other)[0, 1]) < 0.03


def test_noise_takes_the_modules_of_what_it_is_like() -> None:
    """Include and exclude are the other's, and are not set apart from it."""
    noise = parse_spec("noise:like=[rtn:bits=4,include=[*.mlp.*],exclude=[*.down_proj]]")
    assert noise.include == ("*.mlp.*",)
    assert noise.exclude == ("*.down_proj",)
    with pytest.raises(TypeError):
        Noise(like=Rtn(bits=4), exclude=("*.o_proj",))  # type: ignore[call-arg]


def test_noise_like_nothing_is_nothing(matrices: list[LinearMap]) -> None:
    """No error to match gives no noise, and no division by zero."""
    for matrix, result in zip(
        matrices, Noise(like=Nothing()).compress(MatrixGroup(matrices, 0)), strict=True
    ):
        assert torch.equal(result.weight, matrix.weight)


def test_draws_differ_between_seeds_and_maps() -> None:
    """Each seed and each map has its own draw."""
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    draws = [
        Noise(like=Rtn(bits=2)).compress(MatrixGroup([LinearMap(name, weight)], seed))[0].weight
        for name, seed in (("a", 0), ("b", 0), ("a", 1))
    ]
    assert not any(torch.equal(one, other) for one, other in pairwise([*draws, draws[0]]))


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float32, 32), (torch.bfloat16, 16)])
def test_nothing_is_the_reference(matrices: list[LinearMap], dtype: torch.dtype, bits: int) -> None:
    """The same values, in new memory, at the bits they are stored in."""
    stored = [LinearMap(matrix.name, matrix.weight.to(dtype)) for matrix in matrices]
    for matrix, result in zip(stored, Nothing().compress(MatrixGroup(stored, 0)), strict=True):
        assert torch.equal(result.weight, matrix.weight.float())
        assert result.weight.data_ptr() != matrix.weight.data_ptr()
        assert result.bits == bits
