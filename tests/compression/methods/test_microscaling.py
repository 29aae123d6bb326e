"""MXFP4, MXFP6 and MXFP8. That they are bit-equal to libraries' is in against/test_block_floats."""

import pytest
import torch
from torch import Tensor

from bitlens.compression import parse_spec
from bitlens.compression.compression import CompressedMatrix, DataFree
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


def made(text: str, weight: Tensor) -> CompressedMatrix:
    compression = parse_spec(text)
    assert isinstance(compression, DataFree)
    return compression.compress_matrix(LinearMap("layers.0.mlp.up_proj", weight))


def row(*start: float) -> Tensor:
    """A block that starts with these weights and goes on with zeros."""
    return torch.tensor([[*start, *[0.0] * (32 - len(start))]])


@pytest.mark.parametrize(
    ("text", "weights", "expected"),
    [
        # 7 is 7/4 times 4: its power is 4 over 4, and 7 is cut off. 5 is half way: to the even 4.
        ("mxfp4:exponent=floor", (7, 5, -0.3, 0.25), (6, 4, -0.5, 0)),
        # 7/4 is half way from 3/2, the last there is, to 2: the power is 2. 3.5 goes to the even 4.
        ("mxfp4", (7, 5, -0.3, 0.25), (8, 4, 0, 0)),
        # 6.9 is just below that.
        ("mxfp4", (6.9, 5), (6, 4)),
        # 6.5/6 is above 1, so the power is 2; of 6/6 it is 1.
        ("mxfp4:exponent=ceil", (6.5, 5), (6, 4)),
        ("mxfp4:exponent=ceil", (6, 5, 0.3), (6, 4, 0.5)),
        # Steps are 1/8 to 2, 1/4 to 4, 1/2 to 7.5.
        ("mxfp6", (7.6, 1.2, -3.1, 0.05), (7.5, 1.25, -3, 0)),
        # 7.75/4 is half way to 2: the power is 2, and 7.75/2 half way from 15/4 to the even 4.
        ("mxfp6", (7.75, 1.2), (8, 1.25)),
        # Its last power is 16: steps of 4 from there on, of 1/16 below 1/2.
        ("mxfp6:format=e3m2", (20, 17, 3.1, 0.1), (20, 16, 3, 0.125)),
        # Between 16 and 32 steps are 2, halves to even.
        ("mxfp8:exponent=floor", (448, 17, -19, 0.001), (448, 16, -20, 2.0**-9)),
        # As compressed-tensors has it, 448, 7/4 times 256, is taken for 512.
        ("mxfp8", (448, 17, -19, 0.001), (448, 16, -20, 0)),
        # Steps of 4 between 16 and 32.
        ("mxfp8:format=e5m2,exponent=ceil", (57344, 17, 23), (57344, 16, 24)),
    ],
)
def test_by_hand(text: str, weights: tuple[float, ...], expected: tuple[float, ...]) -> None:
    """A block, worked out in the comment above each."""
    assert torch.equal(made(text, row(*weights)).weight, row(*expected))


@pytest.mark.parametrize(("text", "bits"), [("mxfp4", 4.25), ("mxfp6", 6.25), ("mxfp8", 8.25)])
def test_bits_by_hand(text: str, bits: float) -> None:
    """Eight bits of scale for 32 weights."""
    result = made(text, torch.ones(3, 64))
    assert (result.bits, result.group) == (bits, 32)


@pytest.mark.parametrize("rule", ["round", "floor", "ceil"])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-39, 1e38])
def test_powers_at_the_ends(rule: str, size: float) -> None:
    """Blocks of zeros, of the smallest and of the largest numbers there are stay finite."""
    for name in ("mxfp4", "mxfp6"):
        out = made(f"{name}:exponent={rule}", torch.full((2, 32), size)).weight
        assert torch.isfinite(out).all()
        assert size == 1e-39 or bool(out.any()) is (size > 0)


def test_inputs_are_rounded_alike() -> None:
    """A position's 32 neighbours to a power of two, by the same rule."""
    x = torch.stack([row(7, 5, -0.3, 0.25), row(6.9, 5)], 1)
    activations = made("mxfp4:activations=block", torch.ones(1, 32)).activations
    assert activations is not None
    assert torch.equal(activations.round(x), torch.stack([row(8, 4), row(6, 4)], 1))
    assert made("mxfp4", torch.ones(1, 32)).activations is None


def test_ceil_cuts_nothing_off() -> None:
    """With `ceil` no error is above half the last step, 1 of 6; `floor` loses up to 2 of 8."""
    weight = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    tops = weight.abs().amax(-1)
    errors = {
        rule: ((made(f"mxfp4:exponent={rule}", weight).weight - weight).abs().amax(-1) / tops).max()
        for rule in ("floor", "ceil")
    }
    assert errors["ceil"] <= 1 / 5
    assert 0.2 < errors["floor"] <= 0.25


def test_widths_that_are_no_whole_blocks() -> None:
    """There are no short blocks: such a map is refused by name."""
    with pytest.raises(BitlensError) as error:
        made("mxfp8", torch.ones(2, 48))
    assert "the 48 input columns of layers.0.mlp.up_proj" in error.value.found
    assert "exclude=[layers.0.mlp.up_proj]" in error.value.remedy
