"""Laws of what a model's files hold: every parameter its weights, nothing made up, nothing left
over."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from bitlens.errors import BitlensError
from bitlens.models.load import load
from bitlens.models.source import ModelSource
from bitlens.models.whole import require_complete

PLENTY = 1 << 33
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]
HEAD = "lm_head.weight"


def opened(folder: Path, memory: int = PLENTY) -> None:
    load(ModelSource(str(folder), device="cpu"), memory)


@pytest.fixture
def changed(tiny_folder: Callable[..., Path], tmp_path: Path) -> Callable[[Change], Path]:
    """A folder with an untied head whose tensors were changed."""
    whole = tiny_folder("llama", tie_word_embeddings=False)

    def make(change: Change) -> Path:
        folder = shutil.copytree(whole, tmp_path / "changed")
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})
        return folder

    return make


@pytest.mark.parametrize("memory", [PLENTY, 1], ids=["memory", "disk"])
def test_a_missing_tensor_is_named(changed: Callable[[Change], Path], memory: int) -> None:
    """Of the head, which an embedding model has none of, and inside a block."""
    gone = {HEAD, "model.layers.1.mlp.up_proj.weight"}
    folder = changed(lambda t: {k: v for k, v in t.items() if k not in gone})
    with pytest.raises(BitlensError, match=f"no weights for {HEAD}, model.layers.1.mlp.up_proj"):
        opened(folder, memory)


def test_a_prefix_too_many_is_said(changed: Callable[[Change], Path]) -> None:
    """A model saved from inside a wrapper has all of its tensors, under other names."""
    folder = changed(lambda t: {f"_orig_mod.{k}": v for k, v in t.items()})
    with pytest.raises(BitlensError, match=r"no weights for .* and 2\d more; .* _orig_mod\.") as it:
        opened(folder)
    assert "begins with '_orig_mod.'" in it.value.remedy


def test_another_shape_is_named_with_both(changed: Callable[[Change], Path]) -> None:
    """As the file has it, and as config.json says."""
    folder = changed(lambda t: {**t, HEAD: t[HEAD][:100].clone()})
    with pytest.raises(BitlensError, match=r"lm_head.weight \(\[100, 64\] instead of \[128, 6"):
        opened(folder)


def test_a_tensor_too_many_is_named(changed: Callable[[Change], Path]) -> None:
    """What the architecture does not know was left out in silence: a norm of another kind of
    model, the scales of a quantization."""
    folder = changed(lambda t: {**t, "model.layers.0.self_attn.q_norm.weight": t[HEAD][0].clone()})
    with pytest.raises(BitlensError, match=r"does not know: model\.layers\.0\.self_attn\.q_norm"):
        opened(folder)


def test_buffers_that_older_libraries_saved_are_no_tensors_too_many(
    changed: Callable[[Change], Path],
) -> None:
    """Frequencies and masks follow from the configuration."""
    old = ("self_attn.rotary_emb.inv_freq", "self_attn.bias", "self_attn.masked_bias")
    opened(changed(lambda t: {**t, **{f"model.layers.0.{k}": t[HEAD][0].clone() for k in old}}))


@pytest.mark.parametrize("kept", ["model.embed_tokens.weight", HEAD])
def test_of_tied_weights_one_is_enough(
    tiny_folder: Callable[..., Path], tmp_path: Path, kept: str
) -> None:
    """Whichever of the two the file holds."""
    folder = shutil.copytree(tiny_folder("llama", tie_word_embeddings=True), tmp_path / "tied")
    tensors = load_file(folder / "model.safetensors")
    tensors[kept] = tensors.pop("model.embed_tokens.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    opened(folder)


def test_a_shard_that_the_index_does_not_list(
    tiny_model: Callable[..., object], llama: Path, tmp_path: Path
) -> None:
    """What is in it is missing, whatever lies in the folder."""
    folder = shutil.copytree(llama, tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    tiny_model("llama").save_pretrained(folder, max_shard_size="100KB")  # type: ignore[attr-defined]
    opened(folder)
    index = folder / "model.safetensors.index.json"
    listed = json.loads(index.read_text())
    last = max(listed["weight_map"].values())
    gone = {k for k, file in listed["weight_map"].items() if file == last}
    listed["weight_map"] = {k: f for k, f in listed["weight_map"].items() if k not in gone}
    index.write_text(json.dumps(listed))
    with pytest.raises(BitlensError, match=f"no weights for {min(gone)}"):
        opened(folder)


def test_what_a_family_does_without_is_no_fault() -> None:
    """A report that is empty after its own exceptions says that all is there."""
    report = {"missing_keys": set(), "unexpected_keys": {"h.0.attn.bias"}, "mismatched_keys": set()}
    require_complete("gpt2", report)


def test_a_missing_expert_is_named(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    """Experts that are fused when loaded are stored one by one."""
    folder = shutil.copytree(tiny_folder("mixtral"), tmp_path / "experts")
    tensors = load_file(folder / "model.safetensors")
    gone = next(name for name in sorted(tensors) if ".experts.2." in name)
    del tensors[gone]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BitlensError, match=r"lacks some .* that model\.layers\.0\..*experts"):
        opened(folder)


def test_nothing_of_it_is_printed_by_the_library(
    changed: Callable[[Change], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """Its table has the file's own names in it, uncleaned."""
    folder = changed(lambda t: {**t, "\x1b[31mred": t[HEAD][0].clone()})
    with pytest.raises(BitlensError, match="does not know"):
        opened(folder)
    printed = "".join(capfd.readouterr())
    assert "red" not in printed
    assert "sharded" not in printed
