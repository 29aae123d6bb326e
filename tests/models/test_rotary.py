"""Laws of what follows from the length of a text: it is the text's own, whatever runs beside it."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from bitlens.engine.plan import TokenBatch
from bitlens.models.layout import Layout
from bitlens.models.rotary import length_dependent
from tests.support import tiny

LENGTHS = [40, 33, 20, 9]
"""Some beyond the lengths the models below were first trained on, and some not."""
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 8,
    "long_factor": [1.0 + n for n in range(8)],
    "original_max_position_embeddings": 16,
}
CHUNKED = {
    **{name: size for name, size in tiny.KNOWN["llama"].tiny.items() if name != "pad_token_id"},
    "num_hidden_layers": 4,
    "head_dim": 16,
    "intermediate_size_mlp": 128,
    "num_local_experts": 4,
    "interleave_moe_layer_step": 2,
    "attention_chunk_size": 8,
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dynamic": ("llama", {"max_position_embeddings": 16, "rope_parameters": DYNAMIC}),
    "longrope": ("phi3", {"original_max_position_embeddings": 16, "rope_parameters": LONG}),
    "a kind for each layer": (
        "gemma3_text",
        {
            "max_position_embeddings": 16,
            "rope_parameters": {
                "full_attention": DYNAMIC,
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        },
    ),
    "chunked": ("llama4_text", CHUNKED),
}


def built(case: str) -> nn.Module:
    family, settings = OTHERS.get(case, (case, {}))
    return tiny.build(family, **settings)


@torch.no_grad()
def alone(model: nn.Module, batch: TokenBatch, lengths: list[int]) -> torch.Tensor:
    """What every row gives in a model that has seen no other, at the counted positions."""
    width = batch.tokens.shape[1]
    rows = [
        copy.deepcopy(model)(input_ids=tokens[None, :length], use_cache=False).logits[0]
        for tokens, length in zip(batch.tokens, lengths, strict=True)
    ]
    return torch.stack([rows[int(n) // width][int(n) % width] for n in batch.logits_index])


@pytest.mark.slow
@pytest.mark.parametrize("case", [*tiny.NAMES, *OTHERS])
def test_a_document_does_not_depend_on_its_batch(case: str) -> None:
    """In a batch of rows of many lengths, beyond the original context and within it, each gives
    what it gives alone; and again after longer ones have been read."""
    model = built(case)
    batches = [(tiny.batch(lengths), lengths) for lengths in (LENGTHS, [20])]
    expected = [alone(model, batch, lengths) for batch, lengths in batches]
    layout = Layout(model)
    for (batch, _), own in zip(batches, expected, strict=True):
        found = tiny.read(layout, ["logits"], batch)["logits"]
        assert (found - own).abs().max() < 2e-5 * own.abs().max()


def test_only_what_goes_by_the_length_is_stood_in_for() -> None:
    """Other families are run as they were."""
    cases = ["gpt2", "bloom", "llama", "phi3", "gpt_oss", *OTHERS]
    dependent = {case for case in cases if any(length_dependent(built(case)))}
    assert dependent == {"dynamic", "longrope", "a kind for each layer"}
