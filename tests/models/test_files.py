"""Laws of a model's files: all of them are in its fingerprint, and none lies elsewhere."""

import json
import os
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from bitlens.errors import BitlensError
from bitlens.models import files
from bitlens.models.files import fingerprint, held, weight_files, weights_hash
from bitlens.models.load import load
from bitlens.models.source import ModelSource, name_of

PLENTY = 1 << 33


def source(folder: Path, **settings: object) -> ModelSource:
    return ModelSource(str(folder), device="cpu", **settings)  # type: ignore[arg-type]


def sharded(model: Path, to: Path, file: str) -> Path:
    """A copy whose index names one file of weights, under this name."""
    folder = shutil.copytree(model, to)
    (folder / file).parent.mkdir(exist_ok=True, parents=True)
    names = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / file)
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, file)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def other(file: Path) -> None:
    """The same file with one number changed."""
    weights = load_file(file)
    weights["model.norm.weight"][0] += 1
    save_file(weights, file, metadata={"format": "pt"})


def test_weights_in_a_subfolder_are_in_the_fingerprint(llama: Path, tmp_path: Path) -> None:
    """Those that only the index names, too."""
    folder = sharded(llama, tmp_path / "m", "sub/a.safetensors")
    first = load(source(folder), PLENTY).fingerprint
    other(folder / "sub/a.safetensors")
    assert load(source(folder), PLENTY).fingerprint != first
    assert [path.name for path in weight_files(folder)] == ["a.safetensors"]


def test_every_file_of_weights_is_in_the_fingerprint(llama: Path, tmp_path: Path) -> None:
    """Of a model in two files, the second counts as the first does."""
    folder = shutil.copytree(llama, tmp_path / "two")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    last = {"model.norm.weight": weights.pop("model.norm.weight")}
    files = {"a.safetensors": weights, "b.safetensors": last}
    for name, tensors in files.items():
        save_file(tensors, folder / name)
    map = {tensor: name for name, tensors in files.items() for tensor in tensors}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": map}))
    before = weights_hash(folder)
    other(folder / "b.safetensors")
    assert weights_hash(folder) != before


def test_numbers_are_counted_off_the_headers(llama: Path) -> None:
    """Of all tensors of all files."""
    assert held(llama) == sum(t.numel() for t in load_file(llama / "model.safetensors").values())


@pytest.mark.parametrize("absolute", [True, False])
def test_an_index_leads_nowhere_else(llama: Path, tmp_path: Path, absolute: bool) -> None:
    """`../x` and an absolute path are refused before anything is read of them."""
    secret = tmp_path / "elsewhere.safetensors"
    shutil.copy(llama / "model.safetensors", secret)
    folder = sharded(llama, tmp_path / "m", "a.safetensors")
    index = folder / "model.safetensors.index.json"
    named = str(secret) if absolute else "../elsewhere.safetensors"
    index.write_text(index.read_text().replace("a.safetensors", named))
    with pytest.raises(BitlensError, match=r"index\.json of .* names .*outside of the folder"):
        load(source(folder), PLENTY)


def test_config_json_leads_nowhere_else(llama: Path, tmp_path: Path) -> None:
    """It may name the file of weights."""
    folder = shutil.copytree(llama, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": "../x"}))
    with pytest.raises(BitlensError, match=r"config\.json of .* names '\.\./x'"):
        load(source(folder), PLENTY)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "notes.txt"])
def test_a_link_leads_nowhere_else(llama: Path, tmp_path: Path, name: str) -> None:
    """Whatever the file is."""
    folder = shutil.copytree(llama, tmp_path / "m")
    shutil.copy(llama / "config.json", tmp_path / "elsewhere")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BitlensError, match=f"{name} of .* is a link to .*outside of the folder"):
        load(source(folder), PLENTY)


def test_a_link_within_the_folder_is_followed(llama: Path, tmp_path: Path) -> None:
    """As one with a file that is in it."""
    folder = shutil.copytree(llama, tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "weights.bin.real")
    (folder / "model.safetensors").symlink_to("weights.bin.real")
    assert load(source(folder), PLENTY)


def cached(model: Path, cache: Path, commit: str) -> Path:
    """A snapshot as the hub's cache has it, which is what main is."""
    repository = cache / "models--org--tiny"
    snapshot = repository / "snapshots" / commit
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    for file in model.iterdir():
        blob = repository / "blobs" / f"{commit}-{file.name}"
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


def test_a_snapshot_of_the_hubs_cache_is_a_folder(llama: Path, tmp_path: Path) -> None:
    """Its links lead to the cache's blobs; its name is the model's, not the commit's."""
    snapshot = cached(llama, tmp_path, "0" * 40)
    assert load(source(snapshot), PLENTY).name == "org/tiny" == name_of(source(snapshot))


def test_the_fingerprint_of_a_hub_model_is_its_commit(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another commit is another model, whatever revision was asked for."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    config, found = AutoConfig.from_pretrained(llama), []
    monkeypatch.setattr(
        files,
        "try_to_load_from_cache",
        lambda name, file, revision: huggingface_hub.try_to_load_from_cache(
            name, file, cache_dir=tmp_path, revision=revision
        ),
    )
    for commit in ("0" * 40, "1" * 40):
        cached(llama, tmp_path, commit)
        found.append(fingerprint(ModelSource("org/tiny"), config))
    assert found[0] != found[1]
    assert fingerprint(ModelSource("org/tiny", revision="0" * 40), config) == found[0]


def test_a_models_own_code_is_in_the_fingerprint(llama: Path, tmp_path: Path) -> None:
    """What is run under the flag decides about numbers as weights do."""
    folder = shutil.copytree(llama, tmp_path / "own")
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
    (folder / "config.json").write_text(
        json.dumps({**config, "model_type": "mine", "auto_map": classes})
    )
    code = (
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class Config(LlamaConfig):\n    model_type = 'mine'\n"
        "class Model(LlamaForCausalLM):\n    config_class = Config\n"
    )
    found = []
    for text in (code, code + "# other\n"):
        (folder / "mine.py").write_text(text)
        found.append(load(source(folder, trust_remote_code=True), PLENTY).fingerprint)
    assert found[0] != found[1]


def test_what_is_no_file_is_not_waited_for(llama: Path, tmp_path: Path) -> None:
    """A pipe among the weights would be read for ever."""
    folder = shutil.copytree(llama, tmp_path / "m")
    before = weights_hash(folder)
    os.mkfifo(folder / "x.safetensors")
    assert weights_hash(folder) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_hidden_layers", 0), ("num_hidden_layers", 10**12),
     ("max_position_embeddings", 10**12)],
)  # fmt: skip
def test_sizes_that_no_model_has(llama: Path, tmp_path: Path, key: str, value: object) -> None:
    """Refused before a list of that length is made."""
    folder = shutil.copytree(llama, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(BitlensError, match=f"gives {key} as {value!r}"):
        load(source(folder), PLENTY)


def test_more_weights_than_the_files_hold(llama: Path, tmp_path: Path) -> None:
    """A vocabulary of a billion is refused before its embedding is made up."""
    folder = shutil.copytree(llama, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 10**9}))
    with pytest.raises(BitlensError, match=r"describes .* weights; its files hold"):
        load(source(folder), PLENTY)


def test_a_quantized_reference(llama: Path, tmp_path: Path) -> None:
    """It is no reference, whether the library knows its method or would pass over it."""
    folder = shutil.copytree(llama, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    for method in ("bitsandbytes", "a-new-one"):
        settings = {"quant_method": method, "load_in_4bit": True}
        (folder / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
        with pytest.raises(BitlensError, match=f"is quantized .{method}") as caught:
            load(source(folder), PLENTY)
        assert "--to checkpoint:" in caught.value.remedy


def test_code_that_a_configuration_names_is_not_run(llama: Path, tmp_path: Path) -> None:
    """It would be fetched from a repository and run, without anybody's asking."""
    folder = shutil.copytree(llama, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    named = {"attn_implementation": "somebody/kernels"}
    (folder / "config.json").write_text(json.dumps({**config, **named}))
    with pytest.raises(BitlensError, match="names code to run: attn_implementation"):
        load(source(folder), PLENTY)


def test_a_file_that_the_index_names_is_there(llama: Path, tmp_path: Path) -> None:
    """One that was not fetched is named; an index that nothing reads is left alone."""
    folder = sharded(llama, tmp_path / "m", "a.safetensors")
    shutil.copy(folder / "a.safetensors", folder / "model.safetensors")
    (folder / "a.safetensors").unlink()
    assert load(source(folder), PLENTY)
    (folder / "model.safetensors").rename(folder / "b.safetensors")
    with pytest.raises(BitlensError, match=r"^a\.safetensors of .* is not there"):
        load(source(folder), PLENTY)


def test_a_tensor_that_is_in_two_files_is_refused(llama: Path, tmp_path: Path) -> None:
    """By its name and theirs: nobody knows which of the two is the model's. Of a file that is not
    read nothing is said."""
    folder = sharded(llama, tmp_path / "m", "a.safetensors")
    save_file(
        {"model.norm.weight": load_file(folder / "a.safetensors")["model.norm.weight"] + 1},
        folder / "b.safetensors",
    )
    assert load(source(folder), PLENTY)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["another.weight"] = "b.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(
        BitlensError, match=r"model\.norm\.weight twice: in a\.safetensors and in b\.safetensors"
    ):
        load(source(folder), PLENTY)
    shutil.copy(llama / "model.safetensors", folder)
    assert load(source(folder), PLENTY), "which is read instead of the others"
