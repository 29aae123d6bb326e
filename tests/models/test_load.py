"""Laws of loading: what is there is loaded as asked, what is not is said plainly."""

import json
import resource
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from bitlens.errors import BitlensError
from bitlens.models.files import fingerprint, require_safetensors
from bitlens.models.layout import Layout
from bitlens.models.load import load, restore_buffers
from bitlens.models.source import ModelSource
from tests.support import tiny

PLENTY = 1 << 33
Folder = Callable[..., Path]


def source(folder: Path | str, **settings: object) -> ModelSource:
    return ModelSource(str(folder), device="cpu", **settings)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_folder_is_loaded_as_asked(llama: Path, dtype: str) -> None:
    """The weights of the folder in the dtype named, ready to be read, under the folder's name."""
    loaded = load(source(llama, dtype=dtype), PLENTY)
    wanted = getattr(torch, dtype)
    stored = load_file(llama / "model.safetensors")
    assert loaded.name == llama.name
    assert not loaded.offloaded
    assert not loaded.model.training
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, stored[name].to(wanted))
    assert (
        loaded.weight_bytes == sum(p.numel() for p in loaded.model.parameters()) * wanted.itemsize
    )
    assert len(loaded.tokenizer("abc")["input_ids"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3_moe", "gemma3_text"])
def test_from_disk_the_sweep_is_the_same(family: str, dtype: str, tiny_folder: Folder) -> None:
    """A model that does not fit the memory allowed leaves its blocks on disk; what is read of it
    and of its twin is bit for bit the same."""
    folder = tiny_folder(family)
    whole, offloaded = (load(source(folder, dtype=dtype), memory) for memory in (PLENTY, 1))
    assert offloaded.offloaded
    assert not whole.offloaded
    batch = tiny.batch([9, 6])
    found = []
    for loaded in (whole, offloaded):
        layout = Layout(loaded.model)
        on_disk = {p.device.type for b in layout.blocks for p in b.parameters()}
        assert on_disk == {"meta" if loaded.offloaded else "cpu"}
        twins = {"twin": tiny.twin(layout, "rtn:bits=3")}
        sites = [f"{kind}.{n}" for n in range(layout.depth) for kind in ("resid", "attn", "mlp")]
        found.append(
            tiny.activations(tiny.sweep(layout, [batch], ["embed", *sites, "logits"], twins))
        )
    assert found[0].keys() == found[1].keys()
    assert found[0][("twin", "resid.1", 0)].dtype == torch.float32
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())


def test_what_a_model_derives_is_restored_without_its_weights() -> None:
    """The factor of Gemma's embeddings, from a configuration whose embedding no machine holds."""
    model = tiny.build("gemma3_text", dtype=torch.bfloat16)
    config = AutoConfig.for_model(**{**model.config.to_dict(), "vocab_size": 1 << 40})
    wanted = torch.tensor(model.config.hidden_size**0.5)
    scale = model.get_input_embeddings().embed_scale
    model.get_input_embeddings()._buffers["embed_scale"] = (scale + 1).bfloat16()
    restore_buffers(model, config, source("gemma"))
    assert torch.equal(model.get_input_embeddings().embed_scale, wanted)


def test_the_fingerprint_is_of_the_weights(llama: Path, tmp_path: Path) -> None:
    """A copy elsewhere has the same fingerprint; one number changed, another."""
    copy = shutil.copytree(llama, tmp_path / "copy")
    first = load(source(llama), PLENTY).fingerprint
    assert load(source(copy), PLENTY).fingerprint == first
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert load(source(copy), PLENTY).fingerprint != first


def test_the_fingerprint_outlives_an_upgrade(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another transformers reads the same weights."""
    config = AutoConfig.from_pretrained(llama)
    first = fingerprint(source(llama), config)
    settings = {**config.to_dict(), "transformers_version": "99.0"}
    monkeypatch.setattr(config, "to_dict", lambda: settings)
    assert fingerprint(source(llama), config) == first


@pytest.mark.parametrize("memory", [PLENTY, 1], ids=["memory", "disk"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("model.layers.1.mlp.down_proj.weight", float("nan")), ("model.norm.weight", float("inf"))],
)
def test_a_weight_that_is_no_number_is_named(
    llama: Path, tmp_path: Path, memory: int, name: str, value: float
) -> None:
    """In a block or outside, in memory or on disk; how many there are, and of how many."""
    copy = shutil.copytree(llama, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    weights[name].view(-1)[:2] = value
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BitlensError) as caught:
        load(source(copy), memory)
    count = f"2 of {weights[name].numel():,} weights that are infinite or not a number"
    assert caught.value.found == f"{name} of copy holds {count}, in float32."


def test_weights_that_a_dtype_cannot_hold_are_an_error(llama: Path, tmp_path: Path) -> None:
    """Of 1e6 float16 makes infinity."""
    copy = shutil.copytree(llama, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"][0] = 1e6
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert load(source(copy), PLENTY)
    with pytest.raises(BitlensError, match="in float16") as caught:
        load(source(copy, dtype="float16"), PLENTY)
    assert "--dtype bfloat16" in caught.value.remedy


def test_a_folder_that_is_not_there(llama: Path) -> None:
    """A misspelt path is told the nearest that exists."""
    with pytest.raises(BitlensError) as caught:
        load(source(llama.parent / "tiny-lama"), PLENTY)
    assert "no folder" in caught.value.found
    assert llama.name in caught.value.remedy


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    """Without config.json it is none."""
    with pytest.raises(BitlensError, match=r"no config\.json"):
        load(source(tmp_path), PLENTY)


def test_pickled_weights_are_refused(llama: Path, tmp_path: Path) -> None:
    """A folder that has only pickles is not opened."""
    folder = shutil.copytree(llama, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(BitlensError) as caught:
        load(source(folder), PLENTY)
    assert "pytorch_model.bin" in caught.value.found
    assert "safetensors" in caught.value.expected


def test_an_index_leads_to_no_pickle(llama: Path, tmp_path: Path) -> None:
    """Beside safetensors, a list of files that names another is refused, and one that is no list
    said to be broken."""
    folder = shutil.copytree(llama, tmp_path / "listed")
    index = folder / "model.safetensors.index.json"
    for file in ("model.safetensors", "x.bin"):
        index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": file}}))
        if file == "model.safetensors":
            require_safetensors("listed", folder)
    with pytest.raises(BitlensError, match=r"as pickles \(x\.bin\) only"):
        load(source(folder), PLENTY)
    for text in ("", "[]", "{}", '{"weight_map": 3}', "[" * 100_000):
        index.write_text(text)
        with pytest.raises(BitlensError, match=r"index\.json"):
            load(source(folder), PLENTY)


def test_weights_that_are_cut_short(llama: Path, tmp_path: Path) -> None:
    """Half a download is named as such."""
    folder = shutil.copytree(llama, tmp_path / "half")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(BitlensError, match="cannot be read"):
        load(source(folder), PLENTY)


def test_code_of_its_own_is_not_run(llama: Path, tmp_path: Path) -> None:
    """A model that comes with code is refused without the flag, and the code is not run."""
    folder = shutil.copytree(llama, tmp_path / "remote")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('this ran')")
    with pytest.raises(BitlensError) as caught:
        load(source(folder), PLENTY)
    assert "--trust-remote-code" in caught.value.remedy


def test_encoder_decoders_are_refused(tmp_path: Path) -> None:
    """They are no causal language models."""
    (tmp_path / "config.json").write_text('{"model_type": "t5", "is_encoder_decoder": true}')
    with pytest.raises(BitlensError, match="encoder-decoder"):
        load(source(tmp_path), PLENTY)


def test_an_unknown_model_type_is_explained(llama: Path, tmp_path: Path) -> None:
    """transformers' own words stand in a message of three parts."""
    folder = shutil.copytree(llama, tmp_path / "unknown")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "lamma"}))
    with pytest.raises(BitlensError) as caught:
        load(source(folder), PLENTY)
    assert "lamma" in caught.value.found
    assert caught.value.remedy


@pytest.mark.parametrize("device", ["gpu", "mps", "cpu:x"])
def test_an_unknown_device(llama: Path, device: str) -> None:
    """Devices are cpu and cuda."""
    with pytest.raises(BitlensError, match="no device"):
        load(ModelSource(str(llama), device=device), PLENTY)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(llama: Path) -> None:
    """Asking for a GPU on a machine without one is answered with what to type."""
    with pytest.raises(BitlensError) as caught:
        load(ModelSource(str(llama), device="cuda"), PLENTY)
    assert "--device cpu" in caught.value.remedy


def test_a_reference_in_mxfp4_is_dequantized_and_said(tiny_folder: Folder, tmp_path: Path) -> None:
    """To exactly what its codes and scales stand for, two codes a byte, the lower half first."""
    folder = shutil.copytree(tiny_folder("gpt_oss"), tmp_path / "oss")
    half = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    values = torch.cat([half, -half])
    stored, expected = {}, {}
    draw = torch.Generator().manual_seed(0)
    for name, tensor in load_file(folder / "model.safetensors").items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            stored[name] = tensor
            continue
        experts, inputs, outputs = tensor.shape
        shape = (experts, outputs, inputs // 32)
        blocks = torch.randint(0, 256, (*shape, 16), generator=draw, dtype=torch.uint8)
        scales = torch.randint(120, 126, shape, generator=draw, dtype=torch.uint8)
        stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        codes = torch.stack([blocks & 15, blocks >> 4], dim=-1).flatten(-2)
        numbers = values[codes.int()] * torch.exp2(scales.float() - 127)[..., None]
        expected[name] = numbers.flatten(-2).transpose(1, 2)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4"}
    (folder / "config.json").write_text(json.dumps(config))
    loaded = load(source(folder), PLENTY)
    parameters = dict(loaded.model.named_parameters())
    assert expected
    for name, numbers in expected.items():
        assert torch.equal(parameters[name].float(), numbers)
    assert "is stored in MXFP4; its weights were dequantized" in loaded.notes[0]


@pytest.mark.parametrize("room", ["no room", "no folder"])
def test_blocks_that_find_no_room_on_disk(
    tiny_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    """Experts are written anew, as they run: where that cannot be, where is said, and nothing of
    it is left."""
    folder, aside = tiny_folder("qwen3_moe"), tmp_path / "aside"
    if room == "no room":
        aside.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(aside))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(BitlensError, match=r"cannot be (kept on disk|written)") as caught:
            load(source(folder), 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(aside) in str(caught.value)
    assert "TMPDIR=" in caught.value.remedy
    assert room == "no folder" or not list(aside.iterdir())
