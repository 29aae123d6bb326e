"""NF4 and FP4 against bitsandbytes."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from bitlens.compression import parse_spec
from bitlens.compression.compression import MatrixGroup
from bitlens.models.matrices import LinearMap

bitsandbytes = pytest.importorskip("bitsandbytes", reason="pip install bitsandbytes")
pytestmark = pytest.mark.against


def theirs(weight: torch.Tensor, kind: str, block: int, double: bool) -> torch.Tensor:
    """As one row: where rows are shorter than a block, 0.50's AVX-512 kernel takes other blocks'
    scales."""
    packed, state = bitsandbytes.functional.quantize_4bit(
        weight.reshape(1, -1), blocksize=block, compress_statistics=double, quant_type=kind
    )
    return bitsandbytes.functional.dequantize_4bit(packed, state).view(weight.shape)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(256, 512), (1024, 1024), (300, 1000), (7, 13), (1, 3)])
def test_bit_equal(kind: str, double: bool, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """Every weight is the same number, whatever the block, with a last block that is short and
    with one of zeros."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02
    weight[: len(weight) // 4] = 0
    weight[-1, -1] = 1
    weight = weight.to(dtype)
    for block in (32, 64, 256, 4096):
        compression = parse_spec(f"{kind}:block={block},double={str(double).lower()}")
        ours = compression.compress(MatrixGroup([LinearMap("m", weight)], 0))[0].weight
        assert torch.equal(ours.to(dtype), theirs(weight, kind, block, double))


def test_gpt2_maps_are_transposed_first() -> None:
    """transformers hands bitsandbytes what GPT-2 stores [in, out] as [out, in]."""
    replace = pytest.importorskip(
        "transformers.integrations.bitsandbytes", reason="needs accelerate"
    ).replace_with_bnb_linear
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    made = replace(nn.Sequential(Conv1D(48, 64)), [], settings)[0]
    assert made.source_cls is Conv1D
    assert (made.in_features, made.out_features) == (64, 48)
