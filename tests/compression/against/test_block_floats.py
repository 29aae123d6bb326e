"""NVFP4 and the microscaling formats against compressed-tensors, gguf and torchao."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.compression import parse_spec
from bitlens.compression.compression import MatrixGroup
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.models.matrices import LinearMap

pytestmark = pytest.mark.against
RULES = {"FLOOR": "floor", "RCEIL": "ceil", "EVEN": "round"}
"""torchao's names, and ours."""


def weights() -> list[Tensor]:
    """Of every size, in 16 bits, with groups of zeros, halves, and numbers beside powers of two."""
    random = torch.Generator().manual_seed(0)
    wide = torch.randn(128, 256, generator=random)
    wide *= 10 ** (torch.rand(128, 1, generator=random) * 6 - 4)
    steps = torch.randint(-127, 128, (64, 256), generator=random) / 16
    steps[0], steps[1] = 0, 1e-30
    return [wide, wide.bfloat16().float(), steps, steps * (1 - 2.0**-24), steps * 0.3]


def ours(text: str, weight: Tensor) -> Tensor:
    return parse_spec(text).compress(MatrixGroup([LinearMap("m", weight)], 0))[0].weight


@pytest.mark.parametrize(
    ("text", "bits", "group"),
    [("nvfp4", 4, 16), ("mxfp4", 4, 32), ("mxfp6", 6, 32), ("mxfp8", 8, 32)],
)
def test_compressed_tensors(text: str, bits: int, group: int) -> None:
    """Every weight is the same number."""
    library = pytest.importorskip("compressed_tensors.quantization", reason="bitlens[ct]")
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    whole = text == "nvfp4"
    settings = library.QuantizationArgs(
        num_bits=bits,
        type="float",
        strategy="tensor_group" if whole else "group",
        group_size=group,
        scale_dtype=torch.float8_e4m3fn if whole else torch.uint8,
    )
    for weight in weights():
        blocks = weight.unflatten(-1, (-1, group))
        overall = generate_gparam(weight.amin(), weight.amax()) if whole else None
        scale, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), settings, overall)
        theirs = library.lifecycle.fake_quantize(weight, scale, zero, settings, overall)
        assert torch.equal(ours(text, weight), theirs)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (
            "nvfp4:activations=tensor",
            {"num_bits": 4, "strategy": "tensor_group", "group_size": 16, "dynamic": "local"},
        ),
        (
            "mxfp4:activations=block",
            {"num_bits": 4, "strategy": "group", "group_size": 32, "dynamic": True},
        ),
        ("fp8", {"num_bits": 8, "strategy": "token", "dynamic": True}),
        (
            "fp8:activations=block",
            {"num_bits": 8, "strategy": "group", "group_size": 128, "dynamic": True},
        ),
        ("w8a8", {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}),
    ],
)
def test_inputs_of_compressed_tensors(text: str, settings: dict[str, Any]) -> None:
    """Inputs too, of formats of four bits each the same number; of eight bits to a step where one
    is half way, since we multiply by the scale's inverse and it divides. Whole numbers: it goes to
    -128 and has 127.5 steps to the largest, ours 127."""
    library = pytest.importorskip("compressed_tensors.quantization", reason="bitlens[ct]")
    from compressed_tensors.quantization.utils import (
        compute_dynamic_scales_and_zp,
        generate_gparam,
    )

    scale_dtype = {"nvfp4": torch.float8_e4m3fn, "mxfp4": torch.uint8}.get(text.split(":")[0])
    arguments = library.QuantizationArgs(
        **{"type": "float", "scale_dtype": scale_dtype, **settings}
    )
    x = torch.randn(2, 64, 256, generator=torch.Generator().manual_seed(2)) * 3
    overall = None
    if text.startswith("nvfp4"):
        overall = generate_gparam(torch.tensor(-5.0), torch.tensor(6.0))
    scale, zero = compute_dynamic_scales_and_zp(x, arguments, torch.nn.Module(), overall)
    theirs = library.lifecycle.fake_quantize(x, scale, zero, arguments, overall)
    inputs = InputStatistics(count=torch.tensor(1), max_abs=torch.full((256,), 6.0))
    matrix = LinearMap("m", torch.ones(2, 256))
    made = parse_spec(text).compress(MatrixGroup([matrix], 0, inputs=inputs))[0]
    assert made.activations is not None
    mine = made.activations.round(x)
    if "4" in text.split(":")[0]:
        assert torch.equal(mine, theirs)
    elif text == "w8a8":
        assert (mine - theirs).abs().max() <= 1.01 * scale.max()
    else:
        assert (~torch.isclose(mine, theirs, rtol=1e-5)).float().mean() < 1e-3


def test_gguf() -> None:
    """`exponent=floor` is llama.cpp's MXFP4, where nothing is half way between two values: it
    takes the lower, we the even one."""
    library = pytest.importorskip("gguf", reason="pip install gguf")
    kind = library.GGMLQuantizationType.MXFP4
    weight = torch.randn(128, 256, generator=torch.Generator().manual_seed(1)) * 0.02
    theirs = library.quants.dequantize(library.quants.quantize(weight.numpy(), kind), kind)
    assert np.array_equal(ours("mxfp4:exponent=floor", weight).numpy(), theirs)


@pytest.mark.parametrize("mode", RULES)
@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("mxfp4:", "float4_e2m1fn_x2"),
        ("mxfp6:", "fp6_e2m3"),
        ("mxfp6:format=e3m2,", "fp6_e3m2"),
        ("mxfp8:", "float8_e4m3fn"),
        ("mxfp8:format=e5m2,", "float8_e5m2"),
    ],
)
def test_torchao(text: str, dtype: str, mode: str) -> None:
    """Every weight is the same number, by each rule for the exponent; but for `round` of e4m3, in
    which compressed-tensors, ours, and torchao turn to the next power at 1.75 and 1.9375."""
    library: Any = pytest.importorskip(
        "torchao.prototype.mx_formats.mx_tensor", reason="bitlens[torchao]"
    )
    if (text, mode) == ("mxfp8:", "EVEN"):
        pytest.skip("the two libraries differ in this rule; ours is compressed-tensors'")
    element = getattr(torch, dtype, dtype)
    rule = library.ScaleCalculationMode[mode]
    for weight in weights()[:2]:
        theirs = library.MXTensor.to_mx(weight, element, 32, rule).dequantize(torch.float32)
        assert torch.equal(ours(f"{text}exponent={RULES[mode]}", weight), theirs)


def test_nvfp4_of_torchao() -> None:
    """The same codes and scales; torchao multiplies them in another order."""
    library: Any = pytest.importorskip(
        "torchao.prototype.mx_formats.nvfp4_tensor", reason="bitlens[torchao]"
    )
    weight = torch.randn(128, 256, generator=torch.Generator().manual_seed(1)) * 0.02
    scale = library.per_tensor_amax_to_scale(weight.abs().max())
    theirs = library.NVFP4Tensor.to_nvfp4(weight, 16, per_tensor_scale=scale)
    torch.testing.assert_close(
        ours("nvfp4", weight), theirs.dequantize(torch.float32), rtol=1e-6, atol=0
    )
