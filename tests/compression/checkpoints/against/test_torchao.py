"""torchao folders, as transformers writes them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, TorchAoConfig

from bitlens.compression import coverage
from bitlens.errors import BitlensError
from bitlens.models.load import Loaded
from tests.support.checkpoints import (
    arithmetic,
    check_laws,
    logits,
    multiplied,
    opened,
    rows,
)

pytestmark = pytest.mark.against
ao = pytest.importorskip("torchao.quantization", reason="torchao is absent (bitlens[torchao])")

Reference = Callable[[str], Loaded]
KINDS = {
    "int8": lambda: ao.Int8WeightOnlyConfig(),
    "int4": lambda: ao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=ao.PerGroup(32)),  # type: ignore[attr-defined]
    "float8_e4m3fn": lambda: ao.Float8WeightOnlyConfig(),
    "rounding": lambda: ao.Int8DynamicActivationInt8WeightConfig(),
}


@pytest.fixture
def made(folder_of: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    def make(family: str, kind: str, dtype: torch.dtype = torch.float32) -> Path:
        AutoModelForCausalLM.from_pretrained(
            folder_of(family),
            quantization_config=TorchAoConfig(KINDS[kind]()),
            device_map="cpu",
            dtype=dtype,
        ).save_pretrained(tmp_path / "made")
        return tmp_path / "made"

    return make


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "qwen3_moe"])
@pytest.mark.parametrize("kind", ["int8", "int4", "float8_e4m3fn"])
def test_weights_alone(
    reference: Reference, made: Callable[[str, str], Path], family: str, kind: str
) -> None:
    """The unembedding and experts are left alone, which is said of each."""
    model, path = reference(family), made(family, kind)
    checkpoint = opened(path, model)
    assert (checkpoint.format, checkpoint.kernels) == (f"torchao {kind}", True)
    check_laws(checkpoint, model, 1e-5)
    assert not any("own library" in note for note in checkpoint.notes), "two readers"
    name = f"{next(iter(checkpoint.stored)).split('.')[0]}.layers.0"
    matrix = "attention.dense" if family == "gpt_neox" else "self_attn.o_proj"
    entry = checkpoint.stored[f"{name}.{matrix}.weight"]
    expected = {"int8": (8 + 32 / 64, 0), "int4": (4 + 32 / 32, 32)}
    assert (entry.bits, entry.group) == expected.get(kind, (8 + 32 / 64, 0))
    if family == "qwen3_moe":
        assert checkpoint.stored[f"{name}.mlp.experts.down_proj"].format == "float32"
    plain = opened(path, model, "weights")
    assert torch.allclose(logits(plain.model), logits(checkpoint.model), atol=1e-4)


def test_activations_too(reference: Reference, made: Callable[[str, str], Path]) -> None:
    """They are rounded as it runs, and not in ordinary matrices."""
    path = made("llama", "rounding")
    whole, plain = (opened(path, reference("llama"), run) for run in ("auto", "weights"))
    assert "Activations are rounded too" in whole.notes[0]
    assert not any("Activations" in note for note in plain.notes)
    assert not torch.allclose(logits(whole.model), logits(plain.model), atol=1e-3)


def test_gpt2_is_passed_over_and_found_out(
    reference: Reference, made: Callable[[str, str], Path]
) -> None:
    """The library takes nn.Linear alone, and says nothing; the table does."""
    checkpoint = opened(made("gpt2", "int8"), reference("gpt2"))
    with pytest.raises(BitlensError, match="nothing was compressed"):
        coverage.require_change(rows(checkpoint, reference("gpt2")), False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_multiplies_in_what_the_floor_is_of(
    reference: Reference, made: Callable[..., Path], kind: str, dtype: torch.dtype
) -> None:
    """Integers aside, which are exact: where inputs are rounded too, what is not is in it."""
    model = reference("llama")
    checkpoint = opened(made("llama", kind, dtype), model)
    assert multiplied(checkpoint.model) == {dtype} == {arithmetic(checkpoint, model)}
