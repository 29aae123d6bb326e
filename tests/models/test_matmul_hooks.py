"""What matrices are multiplied with, met in every family."""

import pytest
import torch
from torch import Tensor

from bitlens.models.block_layout import MatrixPlace
from bitlens.models.block_runner import Block
from bitlens.models.layout import Layout
from bitlens.models.matmul_hooks import at_products, one_expert_at_a_time
from tests.support import tiny

each_family = pytest.mark.parametrize("family", tiny.NAMES)


def places(layout: Layout) -> list[MatrixPlace]:
    return [place for group in layout.block_layouts[0].groups for place in group]


@torch.no_grad()
def met(layout: Layout) -> dict[str, list[tuple[int | None, Tensor]]]:
    """By key, what the matrices of the first block meet on two rows of tokens."""
    tokens = torch.arange(24).view(2, 12) + 3
    entry = layout.shell.enter(tokens, None)
    block = Block(layout.callable_block(0), layout.block_layouts[0], layout.weights(0))
    seen: dict[str, list[tuple[int | None, Tensor]]] = {}

    def look(place: MatrixPlace, x: Tensor, expert: int | None) -> None:
        seen.setdefault(place.key, []).append((expert, x.clone()))

    with (
        one_expert_at_a_time(layout.model),
        at_products(block.code, places(layout), block.weights, look),
    ):
        block(entry.hidden, entry.calls[0])
    return seen


@each_family
def test_every_matrix_meets_its_input(family: str) -> None:
    """Each place is met, by vectors as long as its matrix is wide; experts together by every
    token as often as it is routed."""
    layout = tiny.layout(family)
    seen = met(layout)
    weights = layout.weights(0)
    assert seen.keys() == {place.key for place in places(layout)}
    for place in places(layout):
        width = place.effective(weights[place.key]).shape[-1]
        assert all(x.shape[-1] == width for _, x in seen[place.key])
        tokens = sum(x.shape[:-1].numel() for _, x in seen[place.key])
        experts = place.parameter != "weight"
        assert all((expert is not None) is experts for expert, _ in seen[place.key])
        routed = layout.config.num_experts_per_tok if experts else 1
        assert tokens == 24 * routed


@each_family
def test_what_is_met_times_the_matrix_is_what_the_model_computes(family: str) -> None:
    """Modules of their own, heard in the model's own forward, give W x + b of what was met."""
    layout = tiny.layout(family)
    seen = met(layout)
    own = [p for p in places(layout) if p.parameter == "weight"]
    block = layout.blocks[0]
    modules = {place.key: block.get_submodule(place.module) for place in own}
    with tiny.listening(modules) as heard, torch.no_grad():
        layout.model(torch.arange(24).view(2, 12) + 3, use_cache=False)
    for place in own:
        weight = place.effective(layout.weights(0)[place.key])
        bias = modules[place.key].bias
        ((_, x),) = seen[place.key]
        product = x @ weight.T + (0 if bias is None else bias)
        expected = heard[place.key].output
        assert torch.allclose(product.reshape(expected.shape), expected, atol=1e-5)


@each_family
def test_what_look_returns_is_multiplied_instead(family: str) -> None:
    """Inputs of nought: all that is left of a block is what biases and norms make of it."""
    layout = tiny.layout(family)
    tokens = torch.arange(24).view(2, 12) + 3
    entry = layout.shell.enter(tokens, None)
    weights = layout.weights(0)
    nothing = {
        key: torch.zeros_like(w) if key in {p.key for p in places(layout)} else w
        for key, w in weights.items()
    }
    names, code = layout.block_layouts[0], layout.callable_block(0)
    with one_expert_at_a_time(layout.model), torch.no_grad():
        expected = Block(code, names, nothing)(entry.hidden, entry.calls[0])[1]
        block = Block(code, names, weights)
        with at_products(code, places(layout), block.weights, lambda p, x, e: x * 0):
            found = block(entry.hidden, entry.calls[0])[1]
    assert torch.allclose(found, expected, atol=1e-6)


def test_experts_run_as_before_afterwards() -> None:
    """The implementation of experts is changed only for as long as it has to be."""
    layout = tiny.layout("qwen3_moe")
    before = layout.model.get_experts_implementation()
    with one_expert_at_a_time(layout.model):
        assert layout.model.get_experts_implementation() != before
    assert layout.model.get_experts_implementation() == before
