"""llama.cpp's block formats against the library gguf."""

from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.gguf import Gguf
from bitlens.models.matrices import LinearMap

library = pytest.importorskip("gguf", reason="pip install gguf")
pytestmark = pytest.mark.against
TYPES = get_args(get_type_hints(Gguf)["type"])


def theirs(weight: torch.Tensor, kind: str) -> np.ndarray:
    """Quantized and read back."""
    type = library.GGMLQuantizationType[kind.upper()]
    rows = np.ascontiguousarray(weight.float().numpy())
    with np.errstate(all="ignore"):
        return library.quants.dequantize(library.quants.quantize(rows, type), type)


def ours(weight: torch.Tensor, kind: str) -> np.ndarray:
    return Gguf(type=kind).compress(MatrixGroup([LinearMap("m", weight)], 0))[0].weight.numpy()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(512, 1024), (3, 256), (4, 5, 512)])
def test_bit_equal(kind: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """Every weight is the same number, of matrices and of experts, with groups of zeros, of equal
    magnitudes and of sizes from 1e-9 to 1e4."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=random)
    weight *= 10 ** (torch.rand(*shape[:-1], 1, generator=random) * 13 - 9)
    weight[..., 0, :] = 0
    weight[..., 1, :] = weight[..., 1, :].sign()
    weight = weight.to(dtype)
    assert np.array_equal(ours(weight, kind), theirs(weight, kind))


@pytest.mark.parametrize("kind", TYPES)
def test_bit_equal_where_rounding_is_close(kind: str) -> None:
    """Multiples of a sixteenth of a step fall on halves, and just beside powers of two."""
    steps = torch.randint(-127, 128, (300, 256), generator=torch.Generator().manual_seed(1)) / 16
    for scale in (1.0, 0.3, 2.0**-12, 1 - 2.0**-24, 1024 * (1 - 2.0**-24)):
        assert np.array_equal(ours(steps * scale, kind), theirs(steps * scale, kind))
