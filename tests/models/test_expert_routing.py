"""Routers and experts of every family are found by what they do, and read as the model has them."""

from typing import Any

import pytest
import torch

from bitlens.engine.interventions import Intervention
from bitlens.engine.plan import TokenBatch
from bitlens.engine.runs import REFERENCE, ForwardRun
from bitlens.models.expert_routing import Added, RouterPlace, Routing
from bitlens.models.layout import Layout
from tests.support import tiny

SIZES = {
    **{"vocab_size": 128, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None},
    **{"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4},
    **{"num_key_value_heads": 4, "head_dim": 16, "max_position_embeddings": 64},
    **{"intermediate_size": 64, "moe_intermediate_size": 32, "num_experts": 8},
    **{"num_local_experts": 8, "n_routed_experts": 8, "num_experts_per_tok": 2},
    **{"n_group": 2, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 0},
    **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8},
    **{"v_head_dim": 16, "shared_expert_intermediate_size": 32, "num_dense_layers": 0},
}
"""What tiny mixtures of any family are made with; each takes what it knows."""
FAMILIES = (
    *("qwen3_moe", "mixtral", "qwen2_moe", "olmoe", "gpt_oss", "granitemoe", "granitemoeshared"),
    *("deepseek_v2", "deepseek_v32", "afmoe", "aria_text", "axk2", "cohere2_moe", "dots1"),
    *("ernie4_5_moe", "exaone_moe", "flex_olmo", "glm4_moe", "hunyuan_v1_moe", "jamba"),
    *("minimax_m2", "phimoe", "solar_open"),
)


def mixture(family: str) -> Layout:
    """A tiny random one."""
    own = {"layer_types": ["sliding_attention", "full_attention"]} if family == "gpt_oss" else {}
    return Layout(tiny.build(family, **SIZES, **own))


def decisions(layout: Layout, batch: TokenBatch) -> dict[int, tuple[Any, Any, Any]]:
    """What the model's own experts are called with and hand out in its own forward, by block."""
    modules, depths = {}, []
    for depth, block in enumerate(layout.block_layouts):
        if not block.routing:
            continue
        depths.append(depth)
        name = f"{layout.block_name(depth)}.{block.routing.experts}"
        modules[name] = layout.model.get_submodule(name)
    with tiny.listening(modules) as heard:
        tiny.forward(layout.model, batch)
    return {
        depth: (
            call.args[1].flatten(0, -2),
            call.args[2].flatten(0, -2),
            call.tensor.flatten(0, -2),
        )
        for depth, call in zip(depths, heard.values(), strict=True)
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_read_as_its_own_experts_are_called(family: str) -> None:
    """Numbers and weights are those of the model's own forward; what single experts add comes to
    what all of them hand out."""
    layout, batch = mixture(family), tiny.batch([9, 7])
    found = decisions(layout, batch)
    read = tiny.read(
        layout, [f"{kind}.{n}" for n in found for kind in ("router", "experts")], batch
    )
    assert found
    for depth, (chosen, weights, output) in found.items():
        routing = Routing.of(read[f"router.{depth}"].flatten(0, 1))
        assert torch.equal(routing.chosen, chosen)
        assert torch.allclose(routing.weights, weights.float(), atol=1e-6)
        assert routing.scores.shape == (18, 8)
        added = Added.of(read[f"experts.{depth}"].flatten(0, 1))
        assert added.count == 8
        assert torch.equal(added.numbers, chosen)
        assert torch.allclose(added.outputs.sum(1), output, atol=1e-5)


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral", "olmoe", "gpt_oss"])
def test_scores_are_the_router_logits_of_transformers(family: str) -> None:
    """What the model hands out where it is asked for them."""
    layout, batch = mixture(family), tiny.batch([9, 9])
    read = tiny.read(layout, ["router.0", "router.1"], batch)
    with torch.no_grad():
        own = layout.model(batch.tokens, output_router_logits=True, use_cache=False).router_logits
    for depth, logits in enumerate(own):
        scores = Routing.of(read[f"router.{depth}"].flatten(0, 1)).scores
        assert torch.allclose(scores, logits.reshape(-1, 8), atol=1e-5)


@pytest.mark.parametrize(
    ("family", "scores"), [("qwen3_moe", "softmax"), ("deepseek_v32", "sigmoid")]
)
def test_what_makes_weights_of_scores_is_told_by_trying(family: str, scores: str) -> None:
    """A softmax, or sigmoids; with groups and a bias between them and the choice."""
    place = mixture(family).block_layouts[0].routing
    assert place is not None
    assert (place.scores, place.count, place.chosen) == (scores, 8, 2)


def test_a_model_without_experts_has_no_router() -> None:
    """Every token meets all of its MLP."""
    assert all(block.routing is None for block in tiny.layout("llama").block_layouts)


def test_a_forced_decision_is_what_experts_are_called_with() -> None:
    """All tokens to experts 5 and 6, half and half: the block then adds what those two give."""
    layout, batch = mixture("qwen3_moe"), tiny.batch([9, 9])
    wanted = Routing(torch.tensor([[5, 6]]), torch.tensor([[0.5, 0.5]]), torch.zeros(1, 8)).packed

    def put(own: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return wanted.expand_as(own)

    forced = ForwardRun(
        "forced",
        REFERENCE,
        parent=REFERENCE,
        interventions=(Intervention(site="router.0", change=put),),
    )
    swept = tiny.sweep(layout, [batch], ["router.0", "experts.0", "mlp.0"], branches=[forced])
    found = tiny.activations(swept)
    counted = batch.index
    added = Added.of(found[("forced", "experts.0", 0)].flatten(0, 1)[counted])
    assert torch.equal(added.numbers.unique(), torch.tensor([5, 6]))
    mlp = found[("forced", "mlp.0", 0)].flatten(0, 1)[counted]
    assert torch.allclose(mlp, added.outputs.sum(1), atol=1e-6)
    before = found[(REFERENCE, "mlp.0", 0)].flatten(0, 1)[counted]
    assert not torch.allclose(mlp, before)


def test_probabilities_are_read_as_their_logarithms() -> None:
    """A router that hands out what sums to one; margins and divergences are of logarithms."""
    place = RouterPlace(
        router="router",
        output=-1,
        experts="experts",
        numbers=1,
        weights=2,
        count=2,
        chosen=1,
        scores="probabilities",
    )
    scores = place.scores_of(torch.tensor([[0.75, 0.25]]))
    assert torch.allclose(scores[0, 0] - scores[0, 1], torch.tensor(3.0).log())
