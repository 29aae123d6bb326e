"""Rounding to small floats."""

import pytest
import torch

from bitlens.compression.numerics.small_floats import SMALL_FLOATS


def numbers() -> torch.Tensor:
    """Of all sizes, with halves."""
    wide = torch.randn(4096, generator=torch.Generator().manual_seed(0)).mul_(4).exp_()
    return torch.cat([wide, -wide, torch.arange(-64, 65) / 32, torch.zeros(1)])


@pytest.mark.parametrize("name", ["e4m3", "e5m2"])
def test_eight_bits_are_torchs(name: str) -> None:
    """What torch rounds to as a dtype, below its largest."""
    form = SMALL_FLOATS[name]
    x = numbers().clamp(-form.largest, form.largest)
    dtype = torch.float8_e4m3fn if name == "e4m3" else torch.float8_e5m2
    assert torch.equal(form.round_(x.clone()), x.to(dtype).float())


@pytest.mark.parametrize("name", SMALL_FLOATS)
def test_values_are_those_of_its_codes(name: str) -> None:
    """As many magnitudes as there are codes, largest and least among them, each its own rounding;
    and every number goes to the nearest."""
    form = SMALL_FLOATS[name]
    exponents = torch.arange(form.least, form.power + 1)
    normal = 2.0 ** exponents[:, None] * (1 + torch.arange(2**form.digits) / 2**form.digits)
    below = 2.0**form.least * torch.arange(2**form.digits) / 2**form.digits
    values = torch.cat([below, normal.flatten()])
    values = values[values <= form.largest]
    # e4m3 gives one code to what is no number, e5m2 four to that and to infinity.
    codes = 2 ** (form.bits - 1)
    assert codes - 4 <= len(values) <= codes
    assert values[-1] == form.largest
    assert torch.equal(form.round_(values.clone()), values)
    x = numbers().clamp(-form.largest, form.largest)
    nearest = (x.abs()[:, None] - values).abs().amin(-1)
    assert torch.equal((form.round_(x.clone()) - x).abs(), nearest)
