"""llama.cpp's block formats. That they are bit-equal to its library's is in against/test_gguf."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.gguf import Gguf
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


def row(*start: float, width: int = 32) -> Tensor:
    """One row that starts with these weights and goes on with zeros."""
    return torch.tensor([[*start, *[0.0] * (width - len(start))]])


def gguf(weight: Tensor, kind: str) -> Tensor:
    return (
        Gguf(type=kind)
        .compress(MatrixGroup([LinearMap("layers.0.mlp.up_proj", weight)], 0))[0]
        .weight
    )


@pytest.mark.parametrize(
    ("kind", "weights", "expected"),
    [
        # The largest, 8, becomes -8 times a step of -1: 7.4 is -7, beyond -7 there is nothing.
        ("q4_0", (8, 7.4, 2.5, -7.6, -3), (8, 7, 2, -7, -3)),
        # The same with 16 and five bits.
        ("q5_0", (-16, -9.5, 15.7, 0.4), (-16, -9, 15, 0)),
        # From -5 to 10 in fifteen steps of 1; halves go up.
        ("q4_1", (-5, 10, 2.5, -2.6), (-5, 10, 3, -3)),
        # From -1 to 30 in 31 steps of 1.
        ("q5_1", (-1, 30, 7.4, 0.5), (-1, 30, 7, 1)),
        # Steps of 1 from -127; halves go away from zero.
        ("q8_0", (-127, 3.5, -3.5, 90.4), (-127, 4, -4, 90)),
        # The largest magnitude, 4, or 0; 2 is half way and goes away from zero.
        ("tq2_0", (4, -2, 1.9, -3), (4, -4, 0, -4)),
        # The power is 2: values 0, 2, 4, 6, 8, 12, 16 and 24 either side, halves towards zero.
        ("mxfp4", (-24, 10, 11, -5.1, 23, 30), (-24, 8, 12, -6, 24, 24)),
    ],
)
def test_by_hand(kind: str, weights: tuple[float, ...], expected: tuple[float, ...]) -> None:
    """A block whose steps are whole numbers, worked out in the comment above each."""
    width = 256 if kind.startswith("tq") else 32
    assert torch.equal(gguf(row(*weights, width=width), kind), row(*expected, width=width))


def test_the_scale_is_rounded_to_float16_after_the_codes() -> None:
    """Of a largest weight 0.7 the step 0.7/127 becomes the nearest float16, 0.005512237548828125:
    the weight itself comes back as 127 times that, 0.70005."""
    assert gguf(row(0.7), "q8_0")[0, 0].item() == pytest.approx(127 * 0.005512237548828125)


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        ("q4_0", 4.5),
        ("q4_1", 5),
        ("q5_0", 5.5),
        ("q5_1", 6),
        ("q8_0", 8.5),
        ("tq1_0", 1.6875),
        ("tq2_0", 2.0625),
        ("mxfp4", 4.25),
    ],
)
def test_bits_by_hand(kind: str, bits: float) -> None:
    """A code and 16 bits of scale for 32 weights, or twice 16; five ternary digits a byte for 240
    of 256 weights and four for the rest; 8 bits for a power of two."""
    weight = torch.randn(2, 256, generator=torch.Generator().manual_seed(0))
    result = Gguf(type=kind).compress(MatrixGroup([LinearMap("m", weight)], 0))[0]
    assert (result.bits, result.group) == (bits, 256 if kind.startswith("tq") else 32)


@pytest.mark.parametrize("kind", ["q4_0", "q4_1", "q8_0", "tq1_0", "mxfp4"])
@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-39])
def test_blocks_without_a_scale_are_zero(kind: str, size: float) -> None:
    """Zeros, and weights whose scale is too small for a float16, are read back as 0, never as
    NaN; mxfp4's powers of two go far below."""
    out = gguf(torch.full((2, 256), size), kind)
    assert torch.isfinite(out).all()
    assert (out == 0).all() or kind == "mxfp4"


def test_transposed_storage_and_experts(one: Callable[..., LinearMap]) -> None:
    """A map stored [in, out], and experts in one tensor, give what each gives alone."""
    weight = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(0)).mT
    apart = torch.stack([gguf(expert.contiguous(), "q5_1") for expert in weight])
    assert torch.equal(gguf(weight, "q5_1"), apart)


@pytest.mark.parametrize(("kind", "width"), [("q4_0", 48), ("tq1_0", 128), ("mxfp4", 1)])
def test_widths_that_are_no_whole_blocks(kind: str, width: int) -> None:
    """llama.cpp has no short blocks: such a map is refused by name."""
    with pytest.raises(BitlensError) as error:
        gguf(torch.ones(2, width), kind)
    assert f"the {width} input columns of layers.0.mlp.up_proj" in error.value.found
    assert "exclude=[layers.0.mlp.up_proj]" in error.value.remedy


def test_scales_beyond_float16() -> None:
    """A weight of 1e7 needs a scale above 65504, which is refused, not made infinite."""
    with pytest.raises(BitlensError) as error:
        gguf(row(1e7, -1), "q4_0")
    assert error.value.found == "layers.0.mlp.up_proj holds weights up to 1e+07."
    assert torch.isfinite(gguf(row(1e7, -1), "mxfp4")).all()


def test_a_type_that_is_none() -> None:
    """The K-formats are not made here, and the error lists what is."""
    with pytest.raises(BitlensError, match="q4_0, q4_1"):
        Gguf(type="q4_k")
