"""Rounding to eight bits beside a scale."""

import numpy as np
import pytest
import torch

from bitlens.compression.numerics.eight_bit import Format, round_

LAST = {"int8": 127.0, "float8_e4m3fn": 448.0, "float8_e5m2": 57344.0}


def values(format: Format) -> np.ndarray:
    """What the format holds, by its definition."""
    if format == "int8":
        return np.arange(-127.0, 128.0)
    fraction, bias = (3, 7) if format == "float8_e4m3fn" else (2, 15)
    steps = np.arange(2**fraction) / 2**fraction
    above = np.concatenate(
        [2.0 ** (1 - bias) * steps, *[2.0**e * (1 + steps) for e in range(1 - bias, 16)]]
    )
    above = above[above <= LAST[format]]
    return np.unique(np.concatenate([-above, above]))


def rounded(numbers: list[float], largest: float, format: Format) -> list[float]:
    return round_(torch.tensor(numbers), torch.tensor(largest), format).tolist()


def test_int8_by_hand() -> None:
    """With 254 as the largest a step is 2: 3 is 1.5 steps and goes to 2, 5 is 2.5 and goes to 2,
    and what is beyond becomes 254 or -254."""
    assert rounded([254, 3, 5, -7, 0.9, 300, -1e9], 254, "int8") == [254, 4, 4, -8, 0, 254, -254]


def test_float8_by_hand() -> None:
    """With 44.8 as the largest, e4m3 is scaled by ten: between 1.6 and 3.2 steps are 0.2."""
    out = rounded([44.8, 1.75, 1.9, -2.95, 50], 44.8, "float8_e4m3fn")
    assert out == pytest.approx([44.8, 1.8, 2.0, -3.0, 44.8], rel=1e-6)


@pytest.mark.parametrize("format", LAST)
def test_the_nearest_of_its_values(format: Format) -> None:
    """With a scale that is a power of two, every number becomes the nearest the format holds."""
    draw = np.random.default_rng(0)
    numbers = draw.standard_normal((40, 50)) * np.exp(draw.uniform(-9, 6, (40, 50)))
    numbers = numbers.astype(np.float32)
    out = round_(torch.tensor(numbers), torch.tensor(LAST[format] / 4), format).numpy() * 4.0
    clipped = np.clip(numbers * 4.0, -LAST[format], LAST[format])[..., None]
    nearest = np.abs(values(format) - clipped).min(-1)
    assert np.array_equal(np.abs(out - clipped[..., 0]), nearest)
    assert np.isin(out, values(format)).all()


@pytest.mark.parametrize("format", LAST)
def test_nothing_and_next_to_nothing_become_nothing(format: Format) -> None:
    """Zeros, and numbers too small to have a scale, become 0 and never NaN."""
    assert rounded([0.0, -0.0, 0.0], 0.0, format) == [0, 0, 0]
    assert rounded([1e-45, -1e-45, 0.0], 1e-45, format) == [0, 0, 0]
    assert rounded([1e-40, 5e-41], 1e-40, format) == [0, 0]


@pytest.mark.parametrize("format", LAST)
def test_large_numbers(format: Format) -> None:
    """Near the largest that float32 has, nothing overflows."""
    assert rounded([3e38, -3e38], 3e38, format) == pytest.approx([3e38, -3e38], rel=1e-6)
