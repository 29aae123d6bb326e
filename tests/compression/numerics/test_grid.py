"""Uniform grids, against numbers worked by hand and a reference written in numpy."""

import numpy as np
import pytest
import torch

from bitlens.compression.numerics.grid import QuantizationGrid


def rounded(grid: QuantizationGrid, *row: float) -> list[float]:
    weights = torch.tensor([row])
    return grid.fit(weights).round_(weights)[0].tolist()


def test_restricted_by_hand() -> None:
    """[-1, 0.3, 0.75] at 3 bits: step 1/3, so whole numbers -3, 1 (of 0.9) and 2 (of 2.25)."""
    assert rounded(QuantizationGrid(3), -1, 0.3, 0.75) == pytest.approx([-1, 1 / 3, 2 / 3])


def test_gptq_by_hand() -> None:
    """[-3.5, 1.2, 2.6] at 3 bits by GPTQ: step 1; -3.5 goes to the even -4, and 2.6 to 3."""
    assert rounded(QuantizationGrid(3, convention="gptq"), -3.5, 1.2, 2.6) == [-4, 1, 3]


def test_gptq_loses_the_largest_positive_weight() -> None:
    """3.5 at 3 bits by GPTQ: 3.5 steps round to 4, the numbers end at 3."""
    assert rounded(QuantizationGrid(3, convention="gptq"), 3.5, -1.2) == [3, -1]


def test_asymmetric_by_hand() -> None:
    """[-1, 0.3, 0.75] at 3 bits from min to max: step 1/4, zero point 4, codes 0, 5 (of 5.2), 7."""
    assert rounded(QuantizationGrid(3, symmetric=False), -1, 0.3, 0.75) == pytest.approx(
        [-1, 0.25, 0.75]
    )


def test_asymmetric_range_includes_zero() -> None:
    """[0.5, 1] at 2 bits: from 0 to 1, step 1/3; 0.5 is 1.5 steps and goes to the even 2."""
    assert rounded(QuantizationGrid(2, symmetric=False), 0.5, 1) == pytest.approx([2 / 3, 1])
    assert rounded(QuantizationGrid(2, symmetric=False), -0.5, -1) == pytest.approx([-2 / 3, -1])


def test_halves_go_to_even() -> None:
    """With step 1, 0.5, 1.5 and 2.5 become 0, 2 and 2, and their negatives likewise."""
    row = (3, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5)
    assert rounded(QuantizationGrid(3), *row) == [3, 0, 2, 2, 0, -2, -2]


def test_full_reaches_one_number_more_below() -> None:
    """A weight beyond the extreme it was fitted to ends at -3 steps where restricted, -4 where
    full; fitted to itself both are the same."""
    fitted_to, beyond = torch.tensor([[3.0, -1.0]]), torch.tensor([[-9.0, 9.0]])
    ends = {
        convention: QuantizationGrid(3, convention=convention)
        .fit(fitted_to)
        .round_(beyond.clone())[0]
        .tolist()
        for convention in ("restricted", "full", "gptq")
    }
    assert ends["restricted"] == [-3, 3]
    assert ends["full"] == [-4, 3]
    assert ends["gptq"] == pytest.approx([-4 * 6 / 7, 3 * 6 / 7])
    row = torch.randn(1, 50, generator=torch.Generator().manual_seed(0)).tolist()[0]
    assert rounded(QuantizationGrid(3), *row) == rounded(
        QuantizationGrid(3, convention="full"), *row
    )


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("value", [0.0, 1e-45])
def test_a_group_without_a_step_becomes_zero(symmetric: bool, value: float) -> None:
    """Zeros, and weights so small that their step underflows, give numbers and not NaN."""
    out = rounded(QuantizationGrid(4, symmetric=symmetric, clip="mse"), value, 0.0, -value)
    assert np.abs(out).max() <= value


def gptq_quantizer(rows: np.ndarray, bits: int, symmetric: bool, search: bool) -> np.ndarray:
    """The quantizer of the GPTQ paper's code, restated in numpy: rounds each row."""
    top = 2**bits - 1
    low = np.minimum(rows.min(1), 0)
    high = np.maximum(rows.max(1), 0)
    if symmetric:
        high = np.maximum(-low, high)
        low = -high
    best, out = np.full(len(rows), np.inf), np.zeros_like(rows)
    for i in range(80 if search else 1):
        share = np.float32(1 - i / 100)
        scale = (high * share - low * share) / np.float32(top)
        zero = np.full_like(scale, (top + 1) / 2) if symmetric else np.round(-low * share / scale)
        code = np.clip(np.round(rows / scale[:, None]) + zero[:, None], 0, top)
        candidate = scale[:, None] * (code - zero[:, None])
        error = (np.abs(candidate - rows) ** 2.4).sum(1)
        out[error < best] = candidate[error < best]
        best = np.minimum(best, error)
    return out


@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_agrees_with_gptq(bits: int, symmetric: bool, search: bool) -> None:
    """Both kinds of grid, with and without the clip search, are those of GPTQ's code."""
    rows = torch.randn(40, 64, generator=torch.Generator().manual_seed(bits)) ** 3
    grid = QuantizationGrid(bits, symmetric, "gptq", "mse" if search else "none")
    expected = gptq_quantizer(rows.numpy(), bits, symmetric, search)
    np.testing.assert_allclose(grid.fit(rows).round_(rows.clone()), expected, atol=2e-6, rtol=2e-6)


def test_clip_search_lowers_its_own_error() -> None:
    """With an outlier in every row, the search lowers sum |w - w^|^2.4 of every row."""
    rows = torch.randn(20, 256, generator=torch.Generator().manual_seed(1))
    rows[:, 0] = 9.0
    error = {
        clip: (QuantizationGrid(3, clip=clip).fit(rows).round_(rows.clone()) - rows)
        .abs()
        .pow(2.4)
        .sum(-1)
        for clip in ("none", "mse")
    }
    assert (error["mse"] < 0.7 * error["none"]).all()


def test_axes_that_share_a_step() -> None:
    """Fitting over two axes gives what fitting the flattened axes gives."""
    weights = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(2))
    grid = QuantizationGrid(4, symmetric=False)
    together = grid.fit(weights, (-2, -1)).round_(weights.clone())
    flat = weights.flatten(1)
    assert torch.equal(together.flatten(1), grid.fit(flat).round_(flat.clone()))


@pytest.mark.parametrize(
    ("grid", "weights", "bits"),
    [
        (QuantizationGrid(4), 64, 4.25),
        (QuantizationGrid(4, symmetric=False), 64, 4.3125),
        (QuantizationGrid(4, convention="gptq"), 128, 4.125),
        (QuantizationGrid(3, symmetric=False), 128, 3 + 19 / 128),
        (QuantizationGrid(8), 768, 8 + 16 / 768),
    ],
)
def test_bits_per_weight_by_hand(grid: QuantizationGrid, weights: int, bits: float) -> None:
    """Bits, and the share in a 16-bit scale and, where asymmetric, a zero point."""
    assert grid.bits_per_weight(weights) == pytest.approx(bits, abs=1e-12)
