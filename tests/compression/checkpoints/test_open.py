"""Finding out the format, and what is missing for it."""

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from bitlens.compression.checkpoints import gptq, plain
from bitlens.compression.checkpoints.readers import readers
from bitlens.errors import BitlensError
from bitlens.models.load import Loaded, load
from bitlens.models.source import ModelSource
from tests.support.checkpoints import logits, opened
from tests.support.gguf_files import write
from tests.support.quantized_folders import folder

Reference = Callable[[str], Loaded]


@pytest.fixture
def said_to_be(folder_of: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """An ordinary folder whose config.json says that it is quantized."""

    def make(method: str) -> Path:
        path = tmp_path / "said"
        shutil.copytree(folder_of("llama"), path)
        config = json.loads((path / "config.json").read_text())
        config["quantization_config"] = {"quant_method": method, "bits": 4}
        (path / "config.json").write_text(json.dumps(config))
        return path

    return make


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """As if a library were not installed."""
    real = importlib.import_module

    def hide(library: str) -> None:
        def missing(name: str, *more: Any) -> Any:
            if name.partition(".")[0] == library:
                raise ModuleNotFoundError(f"No module named {library!r}", name=library)
            return real(name, *more)

        monkeypatch.setattr(importlib, "import_module", missing)

    return hide


@pytest.mark.parametrize(
    ("method", "library", "extra"),
    [
        ("bitsandbytes", "bitsandbytes", "bnb"),
        ("gptq", "gptqmodel", "gptq"),
        ("awq", "gptqmodel", "gptq"),
        ("compressed-tensors", "compressed_tensors", "ct"),
        ("hqq", "hqq", "hqq"),
        ("torchao", "torchao", "torchao"),
    ],
)
def test_what_to_install_is_said(
    reference: Reference,
    said_to_be: Callable[[str], Path],
    without: Callable[[str], None],
    method: str,
    library: str,
    extra: str,
) -> None:
    """The very command, for the format that config.json names."""
    path = said_to_be(method)
    without(library)
    with pytest.raises(BitlensError) as error:
        opened(path, reference("llama"))
    assert library in error.value.found
    assert "is not installed" in error.value.found
    assert error.value.remedy == f"pip install 'bitlens[{extra}]'"


def test_what_to_install_for_a_file(
    reference: Reference, without: Callable[[str], None], tmp_path: Path
) -> None:
    path = write(reference("llama").model, tmp_path / "a.gguf")
    without("gguf")
    with pytest.raises(BitlensError, match=r"pip install 'bitlens\[gguf\]'"):
        opened(path, reference("llama"))


def test_other_formats_are_refused(reference: Reference, said_to_be: Callable[[str], Path]) -> None:
    with pytest.raises(BitlensError) as error:
        opened(said_to_be("aqlm"), reference("llama"))
    assert "quantized with 'aqlm'" in error.value.found
    assert "bitsandbytes_8bit, compressed-tensors, gptq, hqq" in error.value.expected


@pytest.mark.parametrize(
    ("path", "found"), [("./no/such", "There is no folder"), ("{}", "it has no config.json")]
)
def test_what_is_not_there(reference: Reference, tmp_path: Path, path: str, found: str) -> None:
    with pytest.raises(BitlensError, match=found):
        opened(path.format(tmp_path), reference("llama"))


def test_pickles_of_hqq_are_refused(
    reference: Reference, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Its own way to save writes one; there is another."""
    path = tmp_path / "hqq"
    shutil.copytree(folder_of("llama"), path)
    (path / "model.safetensors").rename(path / "qmodel.pt")
    with pytest.raises(BitlensError) as error:
        opened(path, reference("llama"))
    assert "qmodel.pt" in error.value.found
    assert "save_to_safetensors" in error.value.remedy


GARBAGE = b"\x93 no such thing {"
LIES = (8).to_bytes(8, "little") + b'{"a": 3}'
"""As long as it says, and not what it should be."""


@pytest.mark.parametrize("content", [b"", GARBAGE, LIES, b"[]", b"3", b"null", b"{}", b"[" * 99999])
@pytest.mark.parametrize(
    "file",
    ["config.json", "model.safetensors", "tokenizer.json", "model.safetensors.index.json"],
)
def test_a_broken_folder_is_an_error_of_ours(
    reference: Reference,
    folder_of: Callable[[str], Path],
    tmp_path: Path,
    file: str,
    content: bytes,
) -> None:
    """Whatever file is no such file, and however: with what was found, expected and to be done."""
    path = shutil.copytree(folder_of("llama"), tmp_path / "broken")
    (path / file).write_bytes(content)
    with pytest.raises(BitlensError) as error:
        opened(path, reference("llama"))
    assert error.value.found
    assert error.value.expected
    assert error.value.remedy


def announce(path: Path, settings: Any) -> None:
    """Write these settings of a quantization into a folder's config.json."""
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"] = settings
    (path / "config.json").write_text(json.dumps(config))


BROKEN = [3, "gptq", [1], {}, {"bits": "many"}, {"config_groups": 3}]


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (method, settings)
        for method in ("bitsandbytes", "gptq", "compressed-tensors", "hqq", None)
        for settings in BROKEN
        if method != "bitsandbytes" or not isinstance(settings, dict)
    ],
)
def test_broken_settings_are_an_error_of_ours(
    reference: Reference, said_to_be: Callable[[str], Path], method: str, settings: Any
) -> None:
    """Of a quantization that was never done, in any shape."""
    path = said_to_be("gptq")
    named = isinstance(settings, dict) and method
    announce(path, {"quant_method": method, **settings} if named else settings)
    with pytest.raises(BitlensError) as error:
        opened(path, reference("llama"))
    assert error.value.found
    assert error.value.expected
    assert error.value.remedy


@pytest.mark.parametrize("settings", [one for one in BROKEN if isinstance(one, dict)])
def test_bitsandbytes_without_bits_quantized_nothing(
    reference: Reference, said_to_be: Callable[[str], Path], settings: dict[str, Any]
) -> None:
    """Its settings name neither 4 nor 8 bits, so the folder's own weights are what is read."""
    path = said_to_be("gptq")
    announce(path, {"quant_method": "bitsandbytes", **settings})
    loaded = reference("llama")
    before = dict(loaded.model.named_parameters(remove_duplicate=False))
    for name, entry in opened(path, loaded).stored.items():
        assert entry.format == "float32"
        assert torch.equal(entry.weight(), before[name])


def test_what_a_reader_does_not_expect_is_an_error_of_ours(
    reference: Reference, folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it raises; its own words stand in the message."""

    class Odd(Exception):
        pass

    def read(request: Any) -> Any:
        raise Odd("never heard of")

    monkeypatch.setitem(readers().by_method, None, read)
    with pytest.raises(BitlensError, match="tiny-llama cannot be read: Odd: never heard of"):
        opened(folder_of("llama"), reference("llama"))


def test_kernels_may_fail_in_any_way(
    reference: Reference, folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then dequantized weights run, and the reason is said."""
    read = plain.read

    def with_kernels(request: Any) -> Any:
        found = read(request)
        found.model.get_input_embeddings().forward = lambda tokens: {}["no kernel"]
        return replace(found, kernels=True)

    monkeypatch.setitem(readers().by_method, None, with_kernels)
    checkpoint = opened(folder_of("llama"), reference("llama"))
    assert not checkpoint.kernels
    assert "KeyError: 'no kernel'" in checkpoint.notes[0]


def test_gptqmodel_is_given_no_pickles(
    reference: Reference, said_to_be: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no switch: a folder without safetensors, or that lists others, does not reach it."""
    path = said_to_be("gptq")
    given: list[str] = []

    class GPTQModel:
        @staticmethod
        def load(folder: str, **settings: Any) -> Any:
            given.append(folder)
            raise RuntimeError("seen enough")

    library = SimpleNamespace(GPTQModel=GPTQModel, BACKEND=SimpleNamespace(GPTQ_TORCH="torch"))
    monkeypatch.setattr(gptq, "library", lambda *names, **more: library)
    with pytest.raises(BitlensError, match="seen enough"):
        opened(path, reference("llama"))
    assert given == [str(path)]
    (path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model.bin"}}')
    with pytest.raises(BitlensError, match=r"as pickles \(model\.bin\)"):
        opened(path, reference("llama"))
    (path / "model.safetensors.index.json").unlink()
    (path / "model.safetensors").rename(path / "gptq_model-4bit-128g.bin")
    with pytest.raises(BitlensError, match=r"as pickles \(gptq_model-4bit-128g\.bin\)"):
        opened(path, reference("llama"))
    assert given == [str(path)]


@pytest.mark.parametrize("announced", [False, True])
def test_8_bit_floats_of_modelopt_are_read_with_their_scales(
    reference: Reference, folder_of: Callable[[str], Path], tmp_path: Path, announced: bool
) -> None:
    """Older exports say so in a file of their own, newer in config.json; that inputs are rounded
    too where they are deployed is said."""
    state, truth = {}, {}
    for name, weight in load_file(folder_of("llama") / "model.safetensors").items():
        state[name] = truth[name] = weight
        if "_proj.weight" in name:
            scale = weight.abs().max() / 448
            state[name] = (weight / scale).to(torch.float8_e4m3fn)
            truth[name] = state[name].float() * scale
            state[f"{name}_scale"] = scale.reshape(())
            state[name.replace("weight", "input_scale")] = torch.tensor(0.01)
    said = {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}}
    path = folder(folder_of("llama"), tmp_path / "fp8", state, **(said if announced else {}))
    if not announced:
        settings = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": None}}
        (path / "hf_quant_config.json").write_text(json.dumps(settings))
    checkpoint = opened(path, reference("llama"))
    assert (checkpoint.format, checkpoint.kernels) == ("modelopt fp8", False)
    for name, entry in checkpoint.stored.items():
        assert torch.equal(entry.weight(), truth[name]), name
        coded = "_proj.weight" in name
        assert entry.format == ("modelopt fp8" if coded else "float32")
        assert (entry.bits < 9) == coded
    assert checkpoint.left_out == (
        "the inputs of its matrices are rounded to 8 bits (input_scale)",
    )


def test_codes_that_nobody_announced_are_no_weights(
    reference: Reference, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    state = load_file(folder_of("llama") / "model.safetensors")
    state["model.layers.0.mlp.up_proj.weight_scale"] = torch.ones(1)
    path = folder(folder_of("llama"), tmp_path / "left", state)
    with pytest.raises(BitlensError, match=r"does not announce: .*up_proj\.weight_scale"):
        opened(path, reference("llama"))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_settings_of_its_own_are_used_and_said(
    reference: Reference, folder_of: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    """Which is what the folder gives by itself; names, dropout and the like are none."""
    key, value = {
        "llama": ("rope_parameters", {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}),
        "gpt2": ("layer_norm_epsilon", 0.1),
    }[family]
    state = load_file(folder_of(family) / "model.safetensors")
    neutral = {"architectures": ["Other"], "attention_dropout": 0.5, "made_with": "a program"}
    neutral |= {} if family == "gpt2" else {"max_position_embeddings": 99}
    path = folder(folder_of(family), tmp_path / "own", state, **{key: value}, **neutral)
    checkpoint = opened(path, reference(family))
    alone = AutoModelForCausalLM.from_pretrained(path).eval()
    assert torch.equal(logits(checkpoint.model), logits(alone))
    assert not torch.allclose(logits(alone), logits(reference(family).model), atol=1e-3)
    (said,) = checkpoint.own_settings
    assert said.startswith(f"{key} is")
    assert json.dumps(value) in said or str(value) in said


def test_settings_of_its_own_are_used_where_weights_are_asked_for(
    reference: Reference, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Of quantized folders too."""
    rotary = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
    state = load_file(folder_of("llama") / "model.safetensors")
    path = folder(folder_of("llama"), tmp_path / "own", state, rope_parameters=rotary)
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    AutoModelForCausalLM.from_pretrained(
        path, quantization_config=settings, device_map="cpu"
    ).save_pretrained(tmp_path / "made")
    found = [opened(tmp_path / "made", reference("llama"), run) for run in ("kernels", "weights")]
    assert torch.allclose(logits(found[0].model), logits(found[1].model), atol=1e-4)
    assert found[1].model.config.rope_parameters["factor"] == 4
    assert "rope_parameters is" in found[1].own_settings[0]


def test_experts_in_mxfp4_are_read(
    tiny_model: Callable[..., nn.Module], letters: Any, tmp_path: Path
) -> None:
    """As gpt-oss is published: to the last bit, each matrix by its own format."""
    model = tiny_model("gpt_oss").to(torch.bfloat16)
    model.save_pretrained(tmp_path / "whole")
    letters.save_pretrained(tmp_path / "whole")
    draw = torch.Generator().manual_seed(0)
    table = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    state, truth = {}, {}
    for name, weight in model.state_dict().items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            state[name] = truth[name] = weight
            continue
        experts, columns, rows = weight.shape
        codes = torch.randint(0, 16, (experts, rows, columns // 32, 32), generator=draw)
        powers = torch.randint(118, 122, (experts, rows, columns // 32), generator=draw)
        halves = codes.unflatten(-1, (16, 2))
        state[f"{name}_blocks"] = (halves[..., 0] | halves[..., 1] << 4).to(torch.uint8)
        state[f"{name}_scales"] = powers.to(torch.uint8)
        values = table[codes % 8] * torch.where(codes > 7, -1, 1)
        values = values * torch.exp2(powers.float() - 127)[..., None]
        truth[name] = values.flatten(2).transpose(1, 2)
    said = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    path = folder(tmp_path / "whole", tmp_path / "made", state, quantization_config=said)
    checkpoint = opened(path, load(ModelSource(str(tmp_path / "whole")), 1 << 34))
    assert checkpoint.format == "mxfp4"
    for name, entry in checkpoint.stored.items():
        assert torch.equal(entry.weight(), truth[name].float()), name
        coded = f"{name}_blocks" in state
        assert (entry.format, entry.bits) == (("mxfp4", 4.25) if coded else ("bfloat16", 16))
