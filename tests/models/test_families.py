"""The tested families, as data."""

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from bitlens.models.families import FAMILIES, Family


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.key)
def test_every_family_has_a_tiny_model(family: Family):
    """transformers knows it as a causal language model, and it is small."""
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family.model_type, **family.tiny))
    assert sum(parameter.numel() for parameter in model.parameters()) < 400_000
    assert model.config.vocab_size == 128


def test_families_differ():
    """Each stands there once."""
    assert len({family.key for family in FAMILIES}) == len(FAMILIES)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_the_promised_families_are_there():
    """Those the documentation names."""
    assert {family.model_type for family in FAMILIES} >= {
        "gpt2",
        "gpt_neox",
        "gpt_neo",
        "falcon",
        "opt",
        "bloom",
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "starcoder2",
        "phi",
        "olmo",
        "gemma2",
        "gemma3_text",
        "qwen3_moe",
    }
