"""Laws of twins: what was to change changed, nothing else did, and the table says so."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from bitlens.compression import coverage
from bitlens.engine.swept_model import Reference
from bitlens.models.layout import Layout
from tests.support import tiny
from tests.support.compression_texts import EVERYWHERE

each_family = pytest.mark.parametrize("family", tiny.NAMES)
FEW = ["gpt2", "llama", "gpt_oss"]


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def changed(model: nn.Module, layout: Layout) -> set[str]:
    """Parameters that differ from the reference's."""
    before = state(layout.model)
    return {n for n, p in state(model).items() if not torch.equal(p.float(), before[n].float())}


def pushed(module: nn.Module) -> Tensor:
    """`[out, in]`: what a linear module does to the identity, its bias taken off."""
    size = module.nx if isinstance(module, Conv1D) else module.in_features
    identity = torch.eye(size)
    with torch.no_grad():
        if module.bias is not None:
            module.bias.zero_()
        return module(identity).T


@pytest.mark.slow
@each_family
@pytest.mark.parametrize("bits", [2, 3])
def test_a_grid_is_what_the_modules_multiply_with(family: str, bits: int) -> None:
    """Read through the module by pushing the identity through it, so that no convention is
    shared with the code: every output row of every matrix takes at most 2^bits values, and
    differs from the reference's."""
    layout = tiny.layout(family)
    model = tiny.twin(layout, f"rtn:bits={bits}").model()
    found = 0
    for name, _ in layout.matrices():
        if name.rsplit(".", 1)[-1] in ("gate_up_proj", "down_proj") and "experts" in name:
            continue
        found += 1
        module = model.get_submodule(name)
        rows = pushed(module)
        assert all(len(row.unique()) <= 2**bits for row in rows)
        before = layout.model.get_submodule(name).weight
        assert not torch.equal(module.weight, before)
    assert found >= 2 * layout.depth


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_a_grid_of_experts_lies_along_their_outputs(family: str) -> None:
    """Of fused experts, what one output is made of takes at most 2^bits values: rows of
    `[expert, out, in]`, columns where the family stores `[expert, in, out]`."""
    layout = tiny.layout(family)
    parameters = state(tiny.twin(layout, "rtn:bits=2").model())
    stacks = [n for n, _ in layout.matrices() if n.rsplit(".", 2)[-2] == "experts"]
    assert len(stacks) == 2 * layout.depth
    for name in stacks:
        experts = parameters[name]
        if family == "gpt_oss":
            experts = experts.transpose(1, 2)
        assert all(len(row.unique()) <= 4 for row in experts.flatten(0, 1))


@each_family
def test_what_is_targeted_changes_and_nothing_else(family: str) -> None:
    """Every matrix of every block but routers, whole; with a pattern, those it matches."""
    layout = tiny.layout(family)
    weights = {r.name: r.module for r in layout.parameters() if r.kind == "block"}
    before = {name: p.clone() for name, p in state(layout.model).items()}
    everything = tiny.twin(layout, "rtn:bits=3").model()
    assert changed(everything, layout) == set(weights)
    first = layout.block_name(1)
    one = tiny.twin(layout, f"rtn:bits=3,include=[{first}.*]").model()
    assert changed(one, layout) == {n for n in weights if n.startswith(f"{first}.")}
    last = list(weights.values())[-1]
    others = tiny.twin(layout, f"rtn:bits=3,exclude=[{last}]").model()
    assert changed(others, layout) == {n for n, m in weights.items() if m != last}
    assert all(torch.equal(p, before[n]) for n, p in state(layout.model).items())


@pytest.mark.slow
@pytest.mark.parametrize("family", FEW)
@pytest.mark.parametrize("text", EVERYWHERE)
def test_the_table_is_measured(family: str, text: str) -> None:
    """One row a parameter, each counted once; what changed and by how much agrees with the
    weights of the twin's model, whoever made them."""
    layout = tiny.layout(family)
    twin = tiny.twin(layout, text)
    twin.complete_coverage()
    rows = twin.coverage()
    parameters = layout.parameters()
    assert [r.module for r in rows] == [p.module for p in parameters]
    before, after = state(layout.model), state(twin.model(rounding=False))
    assert sum(r.parameters for r in rows) == sum(p.numel() for p in before.values())
    for row, parameter in zip(rows, parameters, strict=True):
        assert row.kind == parameter.kind
        everything = twin.dtype is not None and not parameter.tied
        assert row.compressed == (parameter.kind == "block" or everything)
        if parameter.tied:
            assert row.parameters == 0
            continue
        assert row.parameters == before[parameter.name].numel()
        x, y = (s[parameter.name].double() for s in (before, after))
        assert row.changed == pytest.approx(float((x != y).double().mean()), abs=1e-6)
        if row.compressed:
            assert row.relative_error == pytest.approx(float((x - y).norm() / x.norm()), rel=1e-4)
    assert (coverage.total(rows).changed > 0) == (text != "nothing")


def test_the_table_of_a_sweep_is_that_of_the_weights() -> None:
    """Measured on the way, or afterwards for what no sweep has met: the same rows."""
    layout = tiny.layout("llama")
    swept, alone = (tiny.twin(layout, "rtn:bits=3") for _ in range(2))
    tiny.activations(tiny.sweep(layout, [tiny.batch([5])], ["resid.1"], {"twin": swept}))
    alone.complete_coverage()
    assert swept.coverage() == alone.coverage()


def test_what_is_left_alone_is_shared() -> None:
    """A twin of one matrix needs room for one matrix: all else is the reference's memory."""
    layout = tiny.layout("llama")
    twin = tiny.twin(layout, "rtn:bits=3,include=[layers.1.mlp.down_proj]")
    for depth in range(layout.depth):
        weights = layout.weights(depth)
        own = twin.block_weights(depth, layout.block(depth))
        apart = {n for n in weights if own[n].data_ptr() != weights[n].data_ptr()}
        assert apart == ({"mlp.down_proj.weight"} if depth == 1 else set())
    assert twin.shell_weights() == {}


def test_twins_share_a_shell_unless_they_change_it() -> None:
    """The embedding is computed once for all whose embedding and dtype are the same."""
    layout = tiny.layout("llama")

    def keys(texts: Iterable[str]) -> list[str]:
        return [tiny.twin(layout, text).entry_key for text in texts]

    reference = Reference(layout).entry_key
    assert set(keys(["rtn:bits=3", "nothing", "cast:dtype=fp8"])) == {reference}
    own = keys(
        [
            "rtn:bits=3,include=[embed_tokens]",
            "rtn:bits=4,include=[embed_tokens]",
            "rtn:bits=3,include=[lm_head]",
            "cast:dtype=bf16",
            "cast:dtype=fp16",
        ]
    )
    assert len({reference, *own}) == 6


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_tied_embeddings_stay_tied(family: str) -> None:
    """Compressing a tied embedding compresses the unembedding with it, in the sweep's shell and
    in the model alike; it is counted once."""
    layout = Layout(tiny.build(family, tie_word_embeddings=True))
    names = [m.name for m in layout.shell_maps() if m.weight.shape[0] == tiny.VOCABULARY]
    assert len(names) == 1
    twin = tiny.twin(layout, f"rtn:bits=2,include=[{names[0]}]")
    model = twin.model(rounding=False)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert changed(model, layout) == {f"{names[0]}.weight"}
    rows = {r.kind: r for r in twin.coverage() if r.kind in ("embedding", "unembedding")}
    assert rows["unembedding"].parameters == 0
    assert "tied" in rows["unembedding"].note


@pytest.mark.parametrize("family", FEW)
def test_a_twin_is_a_model_that_can_be_saved(family: str, tmp_path: Path) -> None:
    """A normal transformers model, in evaluation mode, that comes back from a folder the same."""
    layout, batch = tiny.layout(family), tiny.batch([7, 7])
    model = tiny.twin(layout, "rtn:bits=3").model()
    assert type(model) is type(layout.model)
    assert not model.training
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(tiny.forward(again, batch), tiny.forward(model, batch))


def test_a_cast_twin_computes_in_its_dtype() -> None:
    """Weights, embedding and unembedding in the dtype it is named after; the reference's stay."""
    layout, batch = tiny.layout("llama"), tiny.batch([7, 7])
    model = tiny.twin(layout, "cast:dtype=bf16").model()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert tiny.forward(model, batch).dtype == torch.bfloat16
    assert {p.dtype for p in layout.model.parameters()} == {torch.float32}
    rows = tiny.twin(layout, "cast:dtype=bf16")
    rows.complete_coverage()
    table = [r for r in rows.coverage() if r.parameters]
    assert all(r.compressed and r.bits == 16 and r.changed > 0.9 for r in table)


def test_another_seed_is_another_noise() -> None:
    """The root seed reaches the compression; without chance in it, it changes nothing."""
    layout = tiny.layout("llama")
    for text, same in (("noise:like=[rtn:bits=3]", False), ("rtn:bits=3", True)):
        models = [state(tiny.twin(layout, text, seed).model(rounding=False)) for seed in (0, 0, 1)]
        assert all(torch.equal(p, models[1][n]) for n, p in models[0].items())
        assert all(torch.equal(p, models[2][n]) for n, p in models[0].items()) == same


def test_global_pruning_sees_all_blocks_at_once() -> None:
    """The share of zeros is met over all matrices together, and no two have the same."""
    layout = tiny.layout("llama")
    model = tiny.twin(layout, "prune:sparsity=0.4,scope=global").model()
    zeros = {n: (model.get_submodule(n).weight == 0).double().mean() for n, _ in layout.matrices()}
    sizes = {n: model.get_submodule(n).weight.numel() for n in zeros}
    share = sum(float(zeros[n]) * sizes[n] for n in zeros) / sum(sizes.values())
    assert share == pytest.approx(0.4, abs=1e-4)
    assert len({round(float(z), 6) for z in zeros.values()}) > 1


def test_only_targets_are_surveyed() -> None:
    """What is left alone has no say in where global pruning cuts: the share is of the targets,
    although the others, being smaller, would have been cut first."""
    own = tiny.build("llama")
    with torch.no_grad():
        for block in own.model.layers[1:]:
            block.mlp.up_proj.weight.mul_(1e-3)
    layout = Layout(own)
    text = "prune:sparsity=0.4,scope=global,exclude=[up_proj]"
    model = tiny.twin(layout, text).model(rounding=False)
    weights = [
        model.get_submodule(name).weight
        for name, _ in layout.matrices()
        if not name.endswith("up_proj")
    ]
    zeros = sum(int((w == 0).sum()) for w in weights)
    assert zeros == pytest.approx(0.4 * sum(w.numel() for w in weights), abs=1)
