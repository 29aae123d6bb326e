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


def parts(first: tuple[float, ...], second: tuple[float, ...]) -> Tensor:
    """A block that starts with a part of 16 and one of these weights."""
    return row(*first, *[0.0] * (16 - len(first)), *second, width=256)


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


@pytest.mark.parametrize(("kind", "lowest"), [("q3_k", -4), ("q6_k", -32)])
def test_scales_that_are_codes_by_hand(kind: str, lowest: int) -> None:
    """Whole numbers, and halves, whose largest magnitude is the lowest code have steps of 1 and of
    1/2: as codes the lowest scale and half of it, times a float16 that is a power of two. They
    come back as they are, and a part of zeros as zeros."""
    whole = (lowest, 3.0, 1.0, -2.0)
    weight = parts(whole, tuple(number / 2 for number in whole))
    assert torch.equal(gguf(weight, kind), weight)


@pytest.mark.parametrize(
    ("kind", "codes", "scales"), [("q2_k", 3, 15), ("q4_k", 15, 63), ("q5_k", 31, 63)]
)
def test_least_weights_that_are_codes_by_hand(kind: str, codes: int, scales: int) -> None:
    """From -1 to the highest code less 1 in steps of 1: the scale and the least weight are the
    highest codes, times the float16 nearest to one over them. Where nothing is below 0, the least
    weight is 0."""
    unit = float(torch.tensor(1 / scales).half()) * scales
    weight = torch.arange(256.0).remainder(codes + 1).unsqueeze(0)
    assert torch.equal(gguf(weight - 1, kind), weight * unit - unit)
    assert torch.equal(gguf(weight, kind), weight * unit)


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        ("q2_k", 2.625),
        ("q3_k", 3.4375),
        ("q4_k", 4.5),
        ("q5_k", 5.5),
        ("q6_k", 6.5625),
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
    of 256 weights and four for the rest; 8 bits for a power of two. Of 256 weights in parts: 16 or
    twice 16 bits and, for each part of 16, 4 bits of scale and 4 of least weight (q2_k), 6 (q3_k)
    or 8 (q6_k) of scale, for each of 32 twice 6."""
    weight = torch.randn(2, 256, generator=torch.Generator().manual_seed(0))
    result = Gguf(type=kind).compress(MatrixGroup([LinearMap("m", weight)], 0))[0]
    groups = {"tq1_0": 256, "tq2_0": 256, "q2_k": 16, "q3_k": 16, "q6_k": 16}
    assert (result.bits, result.group) == (bits, groups.get(kind, 32))


@pytest.mark.parametrize("kind", ["q4_0", "q4_1", "q8_0", "tq1_0", "mxfp4", "q2_k", "q3_k", "q4_k"])
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


@pytest.mark.parametrize(
    ("kind", "width"), [("q4_0", 48), ("q4_k", 96), ("tq1_0", 128), ("mxfp4", 1)]
)
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
    """IQ-formats are not made here, and the error lists what is."""
    with pytest.raises(BitlensError, match="q4_0, q4_1"):
        Gguf(type="iq4_nl")
