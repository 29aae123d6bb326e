"""What is called from Python does what the command line does, with objects too."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import bitlens
from bitlens.config.study import DEFAULT
from bitlens.errors import BitlensError
from bitlens.workflows.api import _SETTINGS

HOSTILE = "<script>alert(1)</script>"


def silent(line: str) -> None:
    pass


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing a page takes longer than these audits."""
    monkeypatch.setattr("bitlens.workflows.api.build_report", lambda root: None)


def texts_of(path: Path) -> list[str]:
    """The documents of a file of JSON lines."""
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def test_every_setting_is_an_argument() -> None:
    """With the default that a study gives it, and by name only; no others but what is said of
    objects, the folder and the log."""
    found = inspect.signature(bitlens.audit).parameters
    own = {"model", "to", "out", "tokenizer", "name", "replace", "log"}
    assert found.keys() - own == _SETTINGS
    assert DEFAULT.keys() - {"name", "models", "compressions"} == _SETTINGS
    for name in _SETTINGS:
        assert found[name].default == DEFAULT[name], name
        assert found[name].kind is inspect.Parameter.KEYWORD_ONLY
    assert all(line in (bitlens.audit.__doc__ or "") for line in (f"{n}:" for n in found))


@pytest.mark.slow
def test_an_object_gives_the_numbers_of_its_folder(
    llama: Path, short_texts: Path, tmp_path: Path, no_page: None
) -> None:
    """Bit for bit, texts as strings too; the object is afterwards as it was."""
    model = AutoModelForCausalLM.from_pretrained(llama).train()
    tokenizer = AutoTokenizer.from_pretrained(llama)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attention = model.config._attn_implementation
    asked: dict[str, Any] = {"analyses": ("behaviour", "attention"), "log": silent}
    named = bitlens.audit(llama, "rtn:bits=4", tmp_path / "a", text=short_texts, **asked)
    given = bitlens.audit(
        model,
        ["rtn:bits=4"],
        tmp_path / "b",
        tokenizer=tokenizer,
        name=HOSTILE,
        text=texts_of(short_texts),
        **asked,
    )
    found = [a.table().drop_columns(["model"]) for a in (named, given)]
    assert found[0].equals(found[1])
    assert found[0].num_rows > 50
    assert (model.training, model.config._attn_implementation) == (True, attention)
    assert all(torch.equal(before[name], found) for name, found in model.state_dict().items())
    manifest = given.store.manifest()
    assert manifest["command"] == (
        "bitlens.audit(<LlamaForCausalLM>, to=['rtn:bits=4'], "
        f"out='{tmp_path / 'b'}', analyses=['behaviour', 'attention'], text=<24 strings>)"
    )
    assert HOSTILE not in given.report().read_text()
    assert HOSTILE not in given._repr_html_()
    assert given.models == [HOSTILE]


@pytest.mark.slow
def test_the_same_call_again_does_nothing(
    tiny_model: Callable[..., nn.Module],
    letters: Any,
    short_texts: Path,
    tmp_path: Path,
    no_page: None,
) -> None:
    """Other texts in the same folder are refused: they would replace what is there."""
    model, texts = tiny_model("llama"), texts_of(short_texts)
    asked: dict[str, Any] = {"tokenizer": letters, "analyses": ["behaviour"], "controls": ()}
    said: list[str] = []
    for _ in range(2):
        bitlens.audit(model, "rtn:bits=4", tmp_path, text=texts, log=said.append, **asked)
    assert said[-1].endswith("nothing to compute.")
    with pytest.raises(BitlensError, match="other settings"):
        bitlens.audit(model, "rtn:bits=4", tmp_path, text=texts[1:], log=silent, **asked)


def test_a_twin_is_a_model_of_transformers(
    tiny_model: Callable[..., nn.Module], letters: Any, other_texts: Path
) -> None:
    """Its weights are those of the compression, its reference is left alone."""
    model = tiny_model("llama")
    weight = model.model.layers[0].mlp.down_proj.weight.clone()
    made = bitlens.twin(model, "rtn:bits=4,group=8", tokenizer=letters, log=silent)
    assert type(made) is type(model)
    assert torch.equal(model.model.layers[0].mlp.down_proj.weight, weight)
    for row in made.model.layers[0].mlp.down_proj.weight.reshape(-1, 8):
        assert len(row.unique()) <= 16
    calibrated = bitlens.twin(
        model,
        "gptq:bits=4",
        tokenizer=letters,
        calibration=texts_of(other_texts),
        context=40,
        log=silent,
    )
    assert calibrated.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=2).shape == (1, 5)
    again = bitlens.twin(
        model, "gptq:bits=4", tokenizer=letters, calibration=other_texts, context=40, log=silent
    )
    assert all(
        torch.equal(one, other)
        for one, other in zip(calibrated.parameters(), again.parameters(), strict=True)
    )


def test_a_checkpoint_is_handed_out_too(
    tiny_model: Callable[..., nn.Module], letters: Any, tiny_folder: Callable[..., Path]
) -> None:
    """A folder that was made elsewhere, beside a reference that is an object."""
    other = tiny_folder("llama", seed=1)
    made = bitlens.twin(tiny_model("llama"), f"checkpoint:{other}", tokenizer=letters, log=silent)
    expected = AutoModelForCausalLM.from_pretrained(other).state_dict()
    assert all(torch.equal(expected[name], found) for name, found in made.state_dict().items())


def test_rounding_is_told(tiny_model: Callable[..., nn.Module], letters: Any) -> None:
    """A twin of a model in 16 bits is one in 16 bits."""
    said: list[str] = []
    model = tiny_model("llama").bfloat16()
    assert bitlens.twin(model, "rtn:bits=4", tokenizer=letters, log=said.append).dtype == (
        torch.bfloat16
    )
    assert "rounded to bfloat16" in said[-1]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tokenizer": None}, "its tokenizer is None"),
        ({"device": "cuda"}, "device is 'cuda', and the model is an object"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"text": ["a", 3]}, "Text 1 is a int"),
        ({"text": ["", " "]}, "The list holds 2 documents and no text in any"),
        ({"text": []}, "The list holds no document"),
        ({"to": "rtn:bitss=4"}, "bitss"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tiny_model: Callable[..., nn.Module],
    letters: Any,
    tmp_path: Path,
    asked: dict[str, Any],
    said: str,
) -> None:
    """Before anything is written."""
    given = {"to": "rtn:bits=4", "tokenizer": letters, **asked}
    with pytest.raises(BitlensError, match=said):
        bitlens.audit(tiny_model("llama"), out=tmp_path / "out", log=silent, **given)
    assert not (tmp_path / "out").exists()


def test_a_named_model_comes_with_its_own_tokenizer(llama: Path, letters: Any) -> None:
    """Another would be read as if it were the model's."""
    with pytest.raises(BitlensError, match="The model is named"):
        bitlens.twin(llama, "rtn:bits=4", tokenizer=letters)


def test_what_was_an_object_cannot_be_named(tmp_path: Path) -> None:
    """A study that says `object:` or `strings:` was made of what is gone."""
    with pytest.raises(BitlensError, match="was handed over as an object"):
        bitlens.twin("object:mine", "rtn:bits=4", log=silent)
    with pytest.raises(BitlensError, match="were strings"):
        bitlens.audit("demo", "nothing", tmp_path, text="strings:0123", controls=(), log=silent)
