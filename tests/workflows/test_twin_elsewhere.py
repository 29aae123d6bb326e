"""A twin is an ordinary model: other libraries take it as it is, where they are installed."""

from typing import TYPE_CHECKING

import pytest
import torch
from transformers import AutoTokenizer

import bitlens
from bitlens.demo import model_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel

pytestmark = pytest.mark.against
TOKENS = torch.tensor([[0, 17, 45, 300, 211, 9, 1024, 77]])


@pytest.fixture(scope="module")
def twin() -> "PreTrainedModel":
    """The embedded model in 4 bits."""
    return bitlens.twin("demo", "rtn:bits=4", log=lambda line: None)


@pytest.fixture(scope="module")
def expected(twin: "PreTrainedModel") -> tuple[torch.Tensor, torch.Tensor]:
    """Its logits, and what its second block puts out, by transformers."""
    with torch.no_grad():
        out = twin(TOKENS, output_hidden_states=True)
    return out.logits, out.hidden_states[2]


def test_transformerlens_hooks_it(
    twin: "PreTrainedModel", expected: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """With the same logits and the same residual stream."""
    bridges = pytest.importorskip("transformer_lens.model_bridge")
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    bridge = bridges.TransformerBridge.boot_transformers(
        str(model_path()), hf_model=twin, tokenizer=tokenizer, device="cpu"
    )
    logits, cache = bridge.run_with_cache(TOKENS)
    assert (logits - expected[0]).abs().max() < 1e-3
    assert (cache["blocks.1.hook_resid_post"] - expected[1]).abs().max() < 1e-4


def test_nnsight_traces_it(
    twin: "PreTrainedModel", expected: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """With the same logits and the same residual stream; an intervention changes them."""
    nnsight = pytest.importorskip("nnsight")
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    model = nnsight.LanguageModel(twin, tokenizer=tokenizer)
    with torch.no_grad(), model.trace(TOKENS):
        states = model.model.layers[1].output.save()
        logits = model.lm_head.output.save()
    states = states[0] if isinstance(states, tuple) else states
    assert (logits - expected[0]).abs().max() < 1e-4
    assert (states - expected[1]).abs().max() < 1e-5
    with torch.no_grad(), model.trace(TOKENS):
        model.model.layers[0].mlp.output[:] = 0
        changed = model.lm_head.output.save()
    assert (changed - expected[0]).abs().max() > 1e-2
