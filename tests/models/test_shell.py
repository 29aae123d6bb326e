"""Laws of the shell: what stands before the first block and after the last, by the model's own
code."""

import weakref

import pytest
import torch

from bitlens.models.layout import Layout
from bitlens.models.strip import strip
from tests.support import tiny

each_family = pytest.mark.parametrize("family", tiny.NAMES)


@each_family
@pytest.mark.parametrize("lengths", [[12, 12], [12, 7, 3]])
def test_calls_are_the_models_own(family: str, lengths: list[int]) -> None:
    """The embedding, and every tensor that the model hands each of its blocks, are what plain
    hooks see in the model's own forward."""
    layout, batch = tiny.layout(family), tiny.batch(lengths)
    blocks = {str(n): block for n, block in enumerate(layout.blocks)}
    with tiny.listening(blocks) as heard:
        tiny.forward(layout.model, batch)
    entry = layout.shell.enter(batch.tokens, batch.mask)
    assert torch.equal(entry.hidden, heard["0"].input)
    assert len(entry.calls) == layout.depth
    for n, call in enumerate(entry.calls):
        own = {k: v for k, v in heard[str(n)].kwargs.items() if k != "hidden_states"}
        assert call.kwargs.keys() == own.keys()
        for name, value in own.items():
            assert same(call.kwargs[name], value), name
        assert same(call.args, heard[str(n)].args[1:])


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b)


@each_family
def test_logits_do_not_depend_on_company(family: str) -> None:
    """A position's logits are the same whichever others are computed with it, in any order."""
    layout = tiny.layout(family)
    hidden = torch.randn(20, layout.width, generator=torch.Generator().manual_seed(1))
    whole = layout.shell.leave(hidden)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))[:7]
    assert whole.shape == (20, tiny.VOCABULARY)
    assert torch.allclose(layout.shell.leave(hidden[order]), whole[order], atol=1e-5)


def test_only_as_many_blocks_are_asked_as_needed() -> None:
    """`until` is the last block whose call is recorded."""
    layout, batch = tiny.layout("gemma3_text"), tiny.batch([9])
    assert len(layout.shell.enter(batch.tokens, None, until=0).calls) == 1
    assert len(layout.shell.enter(batch.tokens, None).calls) == layout.depth


def test_equal_masks_are_kept_once() -> None:
    """Two batches of one shape share masks and position embeddings; another mask stays another."""
    layout = Layout(tiny.build("llama", attention="eager"))
    first, second = tiny.batch([9, 6], seed=1), tiny.batch([9, 6], seed=2)
    other = tiny.batch([9, 5], seed=1)
    masks = [
        layout.shell.enter(b.tokens, b.mask).calls[0].kwargs["attention_mask"]
        for b in (first, second, other)
    ]
    assert masks[0] is masks[1]
    assert masks[2] is not masks[0]
    assert not torch.equal(masks[2], masks[0])


def test_masks_are_let_go_with_the_batches_they_are_of() -> None:
    """Only the last ones are looked through for an equal one; released, none is held on to."""
    layout = Layout(tiny.build("llama", attention="eager"))
    masks: list[weakref.ref[torch.Tensor]] = []
    for short in range(1, 13):
        batch = tiny.batch([20, short])
        mask = layout.shell.enter(batch.tokens, batch.mask, until=0).calls[0].kwargs
        masks.append(weakref.ref(mask["attention_mask"]))
        del mask
    layout.shell._calls = []
    assert [n for n, mask in enumerate(masks) if mask() is not None] == list(range(4, 12))
    layout.shell.release()
    assert not any(mask() is not None for mask in masks)


def test_a_stripped_copy_shares_parameters_and_nothing_that_can_be_put_in() -> None:
    """Putting something in the copy's place leaves the original as it was."""
    layout = tiny.layout("llama")
    block = layout.blocks[0]
    copy = strip(block, {"mlp.down_proj": torch.nn.Identity()})
    assert isinstance(copy.mlp.down_proj, torch.nn.Identity)
    assert not isinstance(block.mlp.down_proj, torch.nn.Identity)
    assert copy.self_attn is block.self_attn
    whole = strip(block)
    assert all(a is b for a, b in zip(whole.parameters(), block.parameters(), strict=True))
    assert not {id(m) for m in whole.modules()} & {id(m) for m in block.modules()}
