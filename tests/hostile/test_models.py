"""Folders that are no models, or not as they say."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.hostile import Case, Command, Place, Refused, case, rewrite

ORDER = "\x1b[31mRED\x1b]0;owned\x07"


def config(name: str, said: str, **changed: Any) -> Case:
    return case(name, said, lambda place: place.of_config(**changed))


def weights(name: str, said: str, change: Callable[[dict[str, Any]], Any]) -> Case:
    return case(name, said, lambda place: place.of_weights(change))


def folder(name: str, said: str, change: Callable[[Path], object]) -> Case:
    def make(place: Place) -> Command:
        copy = place.copy(place.model)
        change(copy)
        return place.audit(copy)

    return case(name, said, make)


def twin(name: str, said: str, change: Callable[[Path], object]) -> Case:
    def make(place: Place) -> Command:
        copy = place.copy(place.model)
        change(copy)
        return place.audit(to=f"checkpoint:{copy}")

    return case(name, said, make)


def file(name: str, said: str, content: bytes) -> Case:
    """A file that is to be a checkpoint."""
    return case(name, said, lambda p: p.audit(to=f"checkpoint:{p.file('a.gguf', content)}"))


def put(path: str, content: str | bytes) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / path).write_bytes(data)


def without(*names: str) -> Callable[[Path], object]:
    return lambda folder: [(folder / name).unlink() for name in names]


def indexed(file: str) -> Callable[[Path], None]:
    """All tensors are said to be in this file."""

    def change(folder: Path) -> None:
        from safetensors import safe_open

        with safe_open(folder / "model.safetensors", "pt") as opened:
            names = list(opened.keys())
        os.rename(folder / "model.safetensors", folder.parent / "elsewhere.safetensors")
        index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, file)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


def adapter(folder: Path) -> None:
    """What PEFT saves."""
    os.rename(folder / "model.safetensors", folder / "adapter_model.safetensors")
    os.rename(folder / "config.json", folder / "adapter_config.json")


def code(folder: Path) -> None:
    """A model that comes with code, which leaves a mark if it is run."""
    mark = folder.parent / "owned"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').write('run')\nclass C: pass\n")
    own = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.C"}
    rewrite(folder / "config.json", {"auto_map": own, "model_type": "evil"})


def pickled(folder: Path) -> None:
    os.rename(folder / "model.safetensors", folder / "pytorch_model.bin")


def piped(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def half(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def spoilt(tensors: dict[str, Any]) -> None:
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = torch.nan


CASES = [
    folder("no config", "config.json", without("config.json")),
    folder("a config that is empty", "config.json", put("config.json", "")),
    folder("a config that is a list", "config.json", put("config.json", "[]")),
    folder("a config that is no JSON", "config.json", put("config.json", "{'a': 1}")),
    folder("a config of other bytes", "config.json", put("config.json", b"\x93\xff{")),
    folder("a config 100,000 deep", "config.json|loaded", put("config.json", "[" * 100_000)),
    config("no layers", "layers", num_hidden_layers=0),
    config("layers below nought", "layers", num_hidden_layers=-1),
    config("a million layers", "layers|lacks|missing", num_hidden_layers=1_000_000),
    config("many layers", "layers", num_hidden_layers="many"),
    config("more layers than there are", r"layers\.3", num_hidden_layers=5),
    config("fewer layers than there are", "layers.2", num_hidden_layers=2),
    config("no width", "config.json|hidden_size|cannot", hidden_size=0),
    config("a width that is a word", "hidden_size|config.json|cannot", hidden_size="wide"),
    config("no heads", "heads|loaded", num_attention_heads=0),
    config("heads that do not divide", "heads|cannot|shape", num_attention_heads=7),
    config("an unknown activation", "activation|silly|cannot", hidden_act="silly"),
    config("an unknown kind", "evil", model_type="evil"),
    config("no kind", "model_type|kind|config.json", model_type=None),
    config("a model of pictures", "vit|causal|decoder", model_type="vit"),
    config("an unknown quantization", "aqlm", quantization_config={"quant_method": "aqlm"}),
    config("a quantization without a method", "quantiz", quantization_config={"bits": 4}),
    config("a quantization that is a number", "quantiz|loaded", quantization_config=4),
    config(
        "rotary factors of an unknown kind",
        "rope|rotary|silly|cannot",
        rope_scaling={"rope_type": "silly", "factor": 2.0},
    ),
    folder("no weights", "safetensors|weights", without("model.safetensors")),
    folder("weights cut short", "incomplete", half),
    folder("weights that are empty", "too small", put("model.safetensors", b"")),
    folder("weights that are text", "too large", put("model.safetensors", "not tensors at all")),
    folder(
        "a header of 2^63 bytes",
        "too large",
        put("model.safetensors", b"\xff" * 7 + b"\x7f" + b"{}"),
    ),
    folder("weights behind a pipe", "safetensors", piped),
    folder("weights as a pickle", "pickle|safetensors", pickled),
    folder(
        "weights in a folder beside", r"\.\./elsewhere|outside", indexed("../elsewhere.safetensors")
    ),
    folder("weights anywhere", "/etc/passwd|outside", indexed("/etc/passwd")),
    folder("weights that the index does not have", "gone.safetensors", indexed("gone.safetensors")),
    folder("an index that is a list", "index", put("model.safetensors.index.json", "[]")),
    weights(
        "a tensor that is missing",
        "down_proj",
        lambda t: t.pop("model.layers.0.mlp.down_proj.weight"),
    ),
    weights("no unembedding", "lm_head", lambda t: t.pop("lm_head.weight")),
    weights("a tensor too many", "stray", lambda t: t.update(stray=torch.zeros(2))),
    weights(
        "a tensor too many, in colour", "RED", lambda t: t.update({f"x{ORDER}": torch.zeros(2)})
    ),
    weights(
        "a tensor of another shape",
        "norm",
        lambda t: t.update({"model.norm.weight": torch.zeros(9)}),
    ),
    weights(
        "all tensors of another name",
        "model.",
        lambda t: [t.update({f"x.{n}": t.pop(n)}) for n in list(t)],
    ),
    weights("no tensors", "model.", lambda t: t.clear()),
    weights("a weight that is no number", "finite", spoilt),
    folder("no tokenizer", "tokenizer", without("tokenizer.json", "tokenizer_config.json")),
    folder("a tokenizer that is none", "tokenizer|loaded", put("tokenizer.json", "{}")),
    folder("an adapter", "adapter|LoRA", adapter),
    folder("code of its own", "code of its own", code),
    twin("a twin cut short", "incomplete", half),
    twin(
        "a twin of fewer layers",
        "layers",
        lambda f: rewrite(f / "config.json", {"num_hidden_layers": 2}),
    ),
    twin("a twin that is a pickle", "pickle|safetensors", pickled),
    twin("a twin with code of its own", "code of its own", code),
    twin("a twin that is its reference", "nothing was compressed|equal|identical", lambda f: None),
    file("a GGUF that is none", "gguf", b"not a gguf"),
    file("a GGUF that ends at once", "gguf", b"GGUF\x03\0\0\0"),
    file(
        "a GGUF field of 2^40 numbers",
        "gguf",
        b"GGUF\x03\0\0\0"
        + bytes(8)
        + b"\x01"
        + bytes(7)
        + b"\x09"
        + bytes(7)
        + b"general.x"
        + b"\x09\0\0\0\x04\0\0\0"
        + (1 << 40).to_bytes(8, "little"),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_models_are_refused(refused: Refused, case: Case) -> None:
    """Before anything is measured of them; nothing that comes with them is run."""
    refused(case)
