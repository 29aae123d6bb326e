"""llama.cpp's block formats against its own compiled library, and against the library gguf.

What is compared is every weight as it is read back. The library's builds for x86-64 fuse no
products, and neither do we; those for other processors may, and then differ in some blocks.
"""

import platform
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.gguf import Gguf
from bitlens.models.matrices import LinearMap
from tests.support import ggml
from tests.support.k_blocks import BYTES, KINDS, WEIGHTS

library = pytest.importorskip("gguf", reason="pip install gguf")
pytestmark = pytest.mark.against
TYPES = get_args(get_args(get_type_hints(Gguf)["type"])[0])
IN_PYTHON = [kind for kind in TYPES if not kind.endswith("_k")]
"""What the library gguf quantizes itself."""
compiled = pytest.mark.skipif(
    ggml.compiled() is None or platform.machine() != "x86_64",
    reason="no libggml-base for x86-64: pip install pywhispercpp",
)


def theirs(weight: torch.Tensor, kind: str) -> np.ndarray:
    """Quantized and read back."""
    type = library.GGMLQuantizationType[kind.upper()]
    rows = np.ascontiguousarray(weight.float().numpy())
    with np.errstate(all="ignore"):
        return library.quants.dequantize(library.quants.quantize(rows, type), type)


def llamas(weight: torch.Tensor, kind: str) -> np.ndarray:
    """Quantized by llama.cpp's library and read back."""
    rows = weight.float().numpy().reshape(-1, weight.shape[-1])
    made = ggml.quantized(rows, kind)
    read = library.quants.dequantize(made, library.GGMLQuantizationType[kind.upper()])
    return read.reshape(weight.shape)


def ours(weight: torch.Tensor, kind: str) -> np.ndarray:
    return Gguf(type=kind).compress(MatrixGroup([LinearMap("m", weight)], 0))[0].weight.numpy()


def of_all_sizes(*shape: int) -> torch.Tensor:
    """Rows of sizes from 1e-9 to 1e4, of zeros, of equal magnitudes."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=random)
    weight *= 10 ** (torch.rand(*shape[:-1], 1, generator=random) * 13 - 9)
    weight[..., 0, :] = 0
    weight[..., 1, :] = weight[..., 1, :].sign()
    return weight


def halves() -> torch.Tensor:
    """Multiples of a sixteenth of a step fall on halves."""
    return torch.randint(-127, 128, (300, 256), generator=torch.Generator().manual_seed(1)) / 16


@pytest.mark.parametrize("kind", IN_PYTHON)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(512, 1024), (3, 256), (4, 5, 512)])
def test_bit_equal(kind: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Every weight is the same number, of matrices and of experts, with groups of zeros, of equal
    magnitudes and of sizes from 1e-9 to 1e4."""
    weight = of_all_sizes(*shape).to(dtype)
    assert np.array_equal(ours(weight, kind), theirs(weight, kind))


@pytest.mark.parametrize("kind", IN_PYTHON)
def test_bit_equal_where_rounding_is_close(kind: str) -> None:
    """Multiples of a sixteenth of a step fall on halves, and just beside powers of two."""
    for scale in (1.0, 0.3, 2.0**-12, 1 - 2.0**-24, 1024 * (1 - 2.0**-24)):
        assert np.array_equal(ours(halves() * scale, kind), theirs(halves() * scale, kind))


@compiled
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bit_equal_to_the_compiled_library(kind: str, dtype: torch.dtype) -> None:
    """Every weight is the number that llama-quantize would store: of all sizes, few kinds, heavy
    tails, one sign, mostly zeros, parts of very different sizes."""
    draw = torch.Generator().manual_seed(2)
    normal = torch.randn(256, 1024, generator=draw)
    parts = (10 ** (torch.rand(256 * 64, 1, generator=draw) * 6 - 6)).repeat(1, 16)
    for weight in (
        of_all_sizes(256, 1024),
        of_all_sizes(4, 5, 512),
        halves(),
        halves() * 0.3,
        halves().sign(),
        normal * 0.02,
        0.02 * normal / normal.roll(1).abs().clamp(min=0.05),
        normal.abs(),
        -normal.abs() - 0.5,
        normal * (torch.rand(normal.shape, generator=draw) < 0.1),
        normal * parts.view(normal.shape),
    ):
        weight = weight.to(dtype)
        assert np.array_equal(ours(weight, kind), llamas(weight, kind))


@compiled
@pytest.mark.parametrize("kind", KINDS)
def test_the_blocks_that_are_expected_everywhere_are_the_librarys(kind: str) -> None:
    """The file that the tests of the K-formats go by, byte by byte."""
    assert np.array_equal(BYTES[kind], ggml.quantized(WEIGHTS, kind))
