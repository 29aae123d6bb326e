"""HQQ folders, as hqq itself writes them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from bitlens.errors import BitlensError
from bitlens.models.load import Loaded
from tests.support.checkpoints import (
    arithmetic,
    check_laws,
    logits,
    multiplied,
    opened,
    weights,
)

pytestmark = pytest.mark.against
base = pytest.importorskip("hqq.models.hf.base", reason="hqq is not installed (bitlens[hqq])")
quantize = pytest.importorskip("hqq.core.quantize", reason="hqq is not installed (bitlens[hqq])")

Reference = Callable[[str], Loaded]


@pytest.fixture
def made(folder_of: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    def make(family: str, bits: int = 4, dtype: torch.dtype = torch.float32) -> Path:
        model = AutoModelForCausalLM.from_pretrained(folder_of(family))
        settings = quantize.BaseQuantizeConfig(nbits=bits, group_size=32, axis=1)
        base.AutoHQQHFModel.quantize_model(
            model, quant_config=settings, compute_dtype=dtype, device="cpu"
        )
        base.AutoHQQHFModel.save_to_safetensors(model, f"{tmp_path / family}/")
        return tmp_path / family

    return make


@pytest.mark.parametrize("family", ["llama", "qwen3_moe"])
@pytest.mark.parametrize(("bits", "held"), [(4, 4), (8, 8)])
def test_read(
    reference: Reference, made: Callable[..., Path], family: str, bits: int, held: int
) -> None:
    """config.json says nothing of HQQ: the files do. A float32 scale and zero for 32 weights;
    experts and the unembedding are left alone."""
    model, path = reference(family), made(family, bits)
    checkpoint = opened(path, model)
    assert (checkpoint.format, checkpoint.kernels) == (f"hqq {bits} bits", True)
    check_laws(checkpoint, model, 1e-5)
    assert not any("own library" in note for note in checkpoint.notes), "two readers"
    found = {(e.format, e.bits, e.group) for e in checkpoint.stored.values()}
    assert found == {(f"hqq {bits} bits", held + 64 / 32, 32), ("float32", 32, 0)}
    plain = opened(path, model, "weights")
    assert not plain.kernels
    assert torch.allclose(logits(plain.model), logits(checkpoint.model), atol=1e-5)
    theirs = weights(checkpoint)
    assert all(torch.equal(w, theirs[name]) for name, w in weights(plain).items())


def test_its_pickles_are_refused(
    reference: Reference, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """save_quantized writes one."""
    model = AutoModelForCausalLM.from_pretrained(folder_of("llama"))
    settings = quantize.BaseQuantizeConfig(nbits=4, group_size=32, axis=1)
    base.AutoHQQHFModel.quantize_model(
        model, quant_config=settings, compute_dtype=torch.float32, device="cpu"
    )
    base.AutoHQQHFModel.save_quantized(model, str(tmp_path))
    with pytest.raises(BitlensError, match="pickle"):
        opened(tmp_path, reference("llama"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_multiplies_in_what_the_floor_is_of(
    reference: Reference, made: Callable[..., Path], dtype: torch.dtype
) -> None:
    """The dtype of its scales, all through the model."""
    model = reference("llama")
    checkpoint = opened(made("llama", 4, dtype), model)
    assert multiplied(checkpoint.model) == {dtype} == {arithmetic(checkpoint, model)}
