"""Rounding with zero points that were moved."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.hqq import Hqq
from bitlens.compression.methods.rtn import Rtn
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


def hqq(matrix: LinearMap, **settings: int) -> Tensor:
    return Hqq(**settings).compress(MatrixGroup([matrix], 0))[0].weight


def plainly(weight: np.ndarray, bits: int, group: int) -> np.ndarray:
    """The algorithm as its authors write it down, over the whole matrix, in float64."""
    w = weight.astype(np.float64).reshape(-1, group)
    low, high = w.min(1, keepdims=True), w.max(1, keepdims=True)
    scale = (2**bits - 1) / (high - low)
    zero, best = -low * scale, np.inf
    for _ in range(20):
        codes = np.clip(np.rint(w * scale + zero), 0, 2**bits - 1)
        error = w - (codes - zero) / scale
        with np.errstate(divide="ignore"):
            left = np.sign(error) * np.maximum(abs(error) - abs(error) ** (0.7 - 1) / 10, 0)
        zero = (codes - (w - left) * scale).mean(1, keepdims=True)
        if abs(error).mean() >= best:
            break
        best = abs(error).mean()
    codes = np.clip(np.rint(w * scale + zero), 0, 2**bits - 1)
    return ((codes - zero) / scale).reshape(weight.shape)


def test_by_hand(one: Callable[..., LinearMap]) -> None:
    """[0, 0.04, 0.04, 0.3] in four codes 0.1 apart is 0, 0.4, 0.4 and 3 steps, codes 0, 0, 0, 3.
    The errors are too small to be kept (0.04 < 0.17), so the zero point becomes the mean of codes
    less steps, -0.2; codes stay, and everything is read back 0.2 steps higher."""
    out = hqq(one([[0, 0.04, 0.04, 0.3]]), bits=2, group=4)
    assert torch.allclose(out, torch.tensor([[0.02, 0.02, 0.02, 0.32]]))


def test_large_errors_are_kept_by_hand(one: Callable[..., LinearMap]) -> None:
    """[0, 4, 0, 30] in codes 10 apart has one error, 4, of which 4 - 4^-0.3 / 10 is kept and 0.066
    forgiven: all are read back 0.066 / 4 = 0.0165 higher. Then the mean |error| is above 1, where
    it began, and it stops, after one more move: errors of 0.0165 are forgiven, which moves
    nothing; of 3.9835 it keeps 3.9835 - 3.9835^-0.3 / 10 = 3.9174, so 0.0826 / 4 = 0.0206."""
    out = hqq(one([[0, 4, 0, 30]]), bits=2, group=4)
    assert torch.allclose(out, torch.tensor([[0, 0, 0, 30]]) + 0.02064, atol=1e-5)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("size", [0.02, 1.0])
def test_agrees_with_the_algorithm_written_plainly(bits: int, size: float) -> None:
    """In float64 and without pieces, of weights whose errors are all forgiven and of some whose
    errors are not; in a group or two of 384 a weight may fall on the other side of a rounding."""
    weight = np.random.default_rng(0).standard_normal((96, 256)).astype(np.float32) * size
    out = hqq(LinearMap("m", torch.from_numpy(weight)), bits=bits, group=64).numpy()
    same = np.isclose(out, plainly(weight, bits, 64), atol=1e-4 * size)
    assert same.mean() > 0.99


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error by which it stops is that of the whole matrix, however it is cut."""
    matrix = LinearMap("m", torch.randn(64, 128, generator=torch.Generator().manual_seed(0)))
    whole = hqq(matrix, bits=3)
    monkeypatch.setattr("bitlens.compression.methods.hqq._PIECE", 1000)
    torch.testing.assert_close(hqq(matrix, bits=3), whole)


def test_the_error_is_below_that_of_plain_rounding(matrices: list[LinearMap]) -> None:
    """Moving the zero point lessens the mean |error| of every map at few bits."""
    for matrix in matrices:
        plain = Rtn(bits=2, group=16, symmetric=False).compress(MatrixGroup([matrix], 0))[0].weight
        moved = hqq(matrix, bits=2, group=16)
        assert (moved - matrix.weight).abs().mean() < (plain - matrix.weight).abs().mean()


def test_experts_are_matrices(matrices: list[LinearMap]) -> None:
    """Each expert stops by its own error."""
    fused = matrices[-1]
    apart = [hqq(LinearMap("expert", expert), bits=3, group=8) for expert in fused.weight]
    assert torch.equal(hqq(fused, bits=3, group=8), torch.stack(apart))


def test_transposed_storage_and_half_precision(matrices: list[LinearMap]) -> None:
    """Only the numbers count, not how they are stored."""
    stored = LinearMap("m", matrices[6].weight.bfloat16())
    plain = LinearMap("m", stored.weight.contiguous().float())
    assert torch.equal(hqq(stored, bits=4, group=16), hqq(plain, bits=4, group=16))


@pytest.mark.parametrize("value", [0.0, 1.5, -3e-5])
def test_groups_of_equal_weights(one: Callable[..., LinearMap], value: float) -> None:
    """A group without a range stays what it is; one whose range is below 1e-4 becomes its mean."""
    out = hqq(one([[value] * 4, [0, 4e-5, 0, 0]]), bits=4, group=4)
    assert torch.allclose(out, torch.tensor([[value] * 4, [1e-5] * 4]), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("group", "bits"), [(64, 4.5), (0, 4 + 32 / 128), (32, 5)])
def test_bits_by_hand(group: int, bits: float) -> None:
    """Four a weight, and 16 for the scale and 16 for the zero point of a group or a row."""
    result = Hqq(bits=4, group=group).compress(
        MatrixGroup([LinearMap("m", torch.ones(2, 128))], 0)
    )[0]
    assert (result.bits, result.group) == (bits, group)


def test_a_group_that_does_not_divide(one: Callable[..., LinearMap]) -> None:
    """Groups that would straddle rows are refused, with those that would not."""
    with pytest.raises(BitlensError) as error:
        hqq(one(np.ones((2, 12))), bits=4)
    assert "hqq: group=64 does not divide the 12 input columns" in error.value.found


@pytest.mark.parametrize("settings", [{"bits": 1}, {"bits": 9}, {"bits": 4, "group": -1}])
def test_settings_out_of_range(settings: dict[str, int]) -> None:
    """Bits and groups there cannot be are refused."""
    with pytest.raises(BitlensError, match="hqq"):
        Hqq(**settings)
