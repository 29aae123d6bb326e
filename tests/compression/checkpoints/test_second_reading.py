"""What libraries load beside what their files say."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from bitlens.compression.checkpoints.held import Held
from bitlens.compression.checkpoints.second_reading import as_in_files, require_agreement
from bitlens.errors import BitlensError
from bitlens.models.load import Loaded
from tests.support.checkpoints import opened

Reference = Callable[[str], Loaded]
KINDS = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "fp4": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "fp4",
        "bnb_4bit_use_double_quant": True,
    },
    "int8": {"load_in_8bit": True},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "kind"),
    [("llama", "nf4"), ("llama", "fp4"), ("llama", "int8"), ("gpt2", "nf4"), ("qwen3_moe", "nf4")],
)
def test_both_readers_have_the_same_weights(
    reference: Reference,
    folder_of: Callable[[str], Path],
    tmp_path: Path,
    family: str,
    kind: str,
) -> None:
    """All of them: transposed, tied and stacked ones too; what is not rounded is bit for bit."""
    settings = BitsAndBytesConfig(**KINDS[kind], bnb_4bit_compute_dtype=torch.float32)
    AutoModelForCausalLM.from_pretrained(
        folder_of(family), quantization_config=settings, device_map="cpu", dtype=torch.float32
    ).save_pretrained(tmp_path / "made")
    model = reference(family)
    checkpoint = opened(tmp_path / "made", model)
    assert not any("own library" in note for note in checkpoint.notes)
    again = as_in_files(model.model, checkpoint.stored, Held(tmp_path / "made"), {})
    for name, entry in checkpoint.stored.items():
        found, expected = again[name].weight(), entry.weight()
        assert torch.allclose(found, expected, atol=1e-6), name
        assert (again[name].format, again[name].bits) == (entry.format, entry.bits)


@pytest.mark.parametrize("family", ["llama", "qwen3_moe"])
def test_a_library_that_makes_other_numbers_is_noticed(
    reference: Reference, folder_of: Callable[[str], Path], family: str
) -> None:
    """Of any kind of matrix; a hundredth is enough, what bfloat16 rounds is not. What has no
    second reader is named."""
    model = reference(family)
    path = folder_of(family)
    stored, held = opened(path, model).stored, Held(path)
    name = next(n for n in stored if n.endswith(("down_proj.weight", "experts.down_proj")))
    own = stored[name].weight()
    for change, refused in ((own * 1.01, True), (own.bfloat16().float(), False)):
        changed = {**stored, name: replace(stored[name], weight=lambda change=change: change)}
        if refused:
            with pytest.raises(BitlensError, match=r"down_proj.* is not what its files say.*1%"):
                require_agreement("made", model.model, changed, held, {})
        else:
            assert require_agreement("made", model.model, changed, held, {}) == ()
    leaf = next(iter(held.of(name)[0].values()))
    held.modules[leaf.name.rpartition(".")[0]]["weight_odd"] = leaf
    assert require_agreement("made", model.model, stored, held, {}) == ("float32",)
