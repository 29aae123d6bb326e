"""A model that is lent is read where it lies, and given back as it was."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from bitlens.errors import BitlensError
from bitlens.models.in_memory import LentModel
from bitlens.models.source import ModelSource, name_of, refuse_absent_folder
from tests.support import tiny

Make = Callable[..., nn.Module]


def test_its_weights_are_those_of_the_object(tiny_model: Make, letters: Any) -> None:
    """Not a copy of them; its tokenizer is the one that was handed over."""
    model = tiny_model("llama")
    lent = LentModel.of(model, letters)
    loaded = lent.loaded(lent.source("mine", compute="bfloat16"))
    assert loaded.model is model
    assert loaded.tokenizer is letters
    assert (loaded.name, loaded.compute, loaded.offloaded) == ("mine", torch.bfloat16, False)
    assert loaded.weight_bytes == 4 * sum(p.numel() for p in model.parameters())


def test_its_fingerprint_is_of_every_weight(tiny_model: Make, letters: Any) -> None:
    """One number changed gives another; the same numbers in another object the same."""

    def fingerprint(model: nn.Module) -> str:
        lent = LentModel.of(model, letters)
        return lent.loaded(lent.source()).fingerprint

    model = tiny_model("gpt2")
    first = fingerprint(model)
    assert fingerprint(tiny_model("gpt2")) == first
    with torch.no_grad():
        model.transformer.ln_f.bias[0] += 1
    assert fingerprint(model) != first


def test_it_is_given_back_as_it_was(letters: Any) -> None:
    """Dropout, attention and what is derived from the configuration, whatever happens between."""
    model = tiny.build("gemma3_text", dtype=torch.bfloat16).train()
    model.lm_head.eval()
    lent = LentModel.of(model, letters)
    scale = model.get_input_embeddings().embed_scale
    before = model.config._attn_implementation

    def interrupted() -> None:
        with lent.lent():
            lent.loaded(lent.source())
            model.set_attn_implementation("eager")
            assert not model.training
            assert model.get_input_embeddings().embed_scale.dtype == torch.float32
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert model.training
    assert not model.lm_head.training
    assert model.get_input_embeddings().embed_scale is scale
    assert model.config._attn_implementation == before != "eager"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("gpt2", "gpt2"),
        ("owner/model", "owner/model"),
        ("/gone/models/mine", "mine"),
        ("", "LlamaForCausalLM"),
    ],
)
def test_it_is_called_by_what_it_was_loaded_from(
    tiny_model: Make, letters: Any, path: str, name: str
) -> None:
    """No path shows; a name that the caller gives goes first; nothing is looked for on disk."""
    model = tiny_model("llama")
    model.name_or_path = path
    source = LentModel.of(model, letters).source()
    assert name_of(source) == name
    assert name_of(LentModel.of(model, letters).source("edited")) == "edited"
    refuse_absent_folder(ModelSource("object:a/b/c"))


def _quantized(model: Any) -> None:
    model.is_quantized = True


def _adapted(model: Any) -> None:
    model._hf_peft_config_loaded = True


def _emptied(model: Any) -> None:
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.to("meta"))


def _translating(model: Any) -> None:
    model.config.is_encoder_decoder = True


def _broken(model: Any) -> None:
    model.lm_head.weight.data[0, 0] = float("nan")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_quantized, "is quantized"),
        (_adapted, "has an adapter"),
        (_emptied, "not in memory"),
        (_translating, "encoder-decoder"),
        (_broken, "not a number"),
    ],
)
def test_what_cannot_be_audited_is_refused(
    tiny_model: Make, letters: Any, change: Callable[[Any], None], said: str
) -> None:
    """Before anything is computed."""
    model = tiny_model("llama")
    change(model)

    def loaded() -> None:
        lent = LentModel.of(model, letters)
        lent.loaded(lent.source())

    with pytest.raises(BitlensError, match=said):
        loaded()


def test_other_objects_are_refused(tiny_model: Make, letters: Any) -> None:
    """A module that is no model of transformers, and a model without its tokenizer."""
    with pytest.raises(BitlensError, match="The model is a Linear"):
        LentModel.of(nn.Linear(2, 2), letters)
    with pytest.raises(BitlensError, match="its tokenizer is None"):
        LentModel.of(tiny_model("llama"), None)
