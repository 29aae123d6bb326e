"""Casting to smaller floating-point types."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bitlens.compression import format_spec
from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.cast import Cast
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


def cast(matrix: LinearMap, dtype: str) -> torch.Tensor:
    return Cast(dtype=dtype).compress(MatrixGroup([matrix], 0))[0].weight


def test_bfloat16_by_hand(one: Callable[..., LinearMap]) -> None:
    """Eight significant bits: of the half-ways, 1 + 1/256 goes to 1 and 1 + 3/256 to 1 + 4/256."""
    out = cast(one([[1 + 1 / 256, 1 + 3 / 256, 3.0e38]]), "bfloat16")
    assert out[0, :2].tolist() == [1, 1 + 4 / 256]
    assert torch.isfinite(out).all()


def test_float16_agrees_with_numpy(one: Callable[..., LinearMap]) -> None:
    """Eleven significant bits and its small range, as numpy rounds."""
    rows = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
    rows[0] *= 1e-7
    assert np.array_equal(cast(one(rows), "float16"), rows.astype(np.float16).astype(np.float32))


def every_float8() -> np.ndarray:
    """The values of e4m3fn by its definition, in order: 7 subnormals, 8 a power of two, to 448."""
    fractions = np.arange(8) / 8
    normal = np.concatenate([2.0**e * (1 + fractions) for e in range(-6, 9)])
    above = np.concatenate([2.0**-6 * fractions, normal])
    above = above[above <= 448]
    return np.unique(np.concatenate([-above, above]))


def test_float8_rounds_to_its_grid(one: Callable[..., LinearMap]) -> None:
    """Every weight becomes the nearest of the 253 values, and beyond 448 becomes 448."""
    values = every_float8()
    assert len(values) == 253
    rows = np.random.default_rng(1).standard_normal((50, 40)).astype(np.float32)
    rows *= np.exp(np.random.default_rng(2).uniform(-9, 6, rows.shape)).astype(np.float32)
    out = cast(one(rows), "float8_e4m3fn").numpy()
    clipped = np.clip(rows, -448, 448)[..., None].astype(np.float64)
    assert np.array_equal(np.abs(out - clipped[..., 0]), np.abs(values - clipped).min(-1))
    assert np.isin(out, values).all()


def test_float8_saturates(one: Callable[..., LinearMap]) -> None:
    """Out of range is the largest value, never NaN."""
    assert cast(one([[1e4, -1e30, 449.0]]), "fp8").tolist() == [[448, -448, 448]]


def test_float16_overflow_is_an_error(one: Callable[..., LinearMap]) -> None:
    """A weight beyond 65504 names the module and its size; 65519 still rounds down to it."""
    with pytest.raises(BitlensError) as error:
        cast(one([[1.0, -70000.0]]), "float16")
    assert error.value.found == "layers.0.mlp.up_proj holds weights up to 70000."
    assert "65504" in error.value.expected
    assert cast(one([[65519.0]]), "float16").item() == 65504


def test_compute_dtype() -> None:
    """bfloat16 and float16 are computed in; float8 is only stored."""
    assert Cast(dtype="bf16").compute_dtype is torch.bfloat16
    assert Cast(dtype="float16").compute_dtype is torch.float16
    assert Cast(dtype="fp8").compute_dtype is None


def test_spellings_and_bits(matrices: list[LinearMap]) -> None:
    """Short spellings are the same compression; 16 or 8 bits a weight."""
    for short, long, bits in (
        ("bf16", "bfloat16", 16),
        ("fp16", "float16", 16),
        ("fp8", "float8_e4m3fn", 8),
    ):
        assert Cast(dtype=short) == Cast(dtype=long)
        assert format_spec(Cast(dtype=short)) == f"cast:dtype={long}"
        assert Cast(dtype=short).compress(MatrixGroup(matrices, 0))[0].bits == bits
