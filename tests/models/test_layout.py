"""Laws of layouts, on every family: the parts are what the names say, whatever the code thinks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import AutoConfig, AutoModelForSeq2SeqLM
from transformers.pytorch_utils import Conv1D

from bitlens.engine.runs import ForwardRun
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from tests.support import tiny

each_family = pytest.mark.parametrize("family", tiny.NAMES)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def equal(a: Tensor, b: Tensor) -> bool:
    return a.numel() == b.numel() and torch.equal(a.flatten(), b.flatten())


@each_family
def test_the_residual_stream_adds_up(family: str) -> None:
    """What goes into a block, plus what attention and MLP add, is what comes out."""
    layout = tiny.layout(family)
    sites = [f"{kind}.{n}" for n in range(layout.depth) for kind in ("resid", "attn", "mlp")]
    read = tiny.read(layout, ["embed", *sites], tiny.batch([12, 12, 7]))
    before = read["embed"]
    for n in range(layout.depth):
        parts = read[f"attn.{n}"], read[f"mlp.{n}"]
        assert all(part.std() > 0.01 for part in parts)
        assert close(before + parts[0] + parts[1], read[f"resid.{n}"])
        before = read[f"resid.{n}"]


@each_family
def test_logits_are_the_models_own(family: str) -> None:
    """Block by block gives the logits of the model's own forward, for whole batches and for the
    counted positions of a sweep, of which there are more here than the model reads at once."""
    layout, batch = tiny.layout(family), tiny.batch([12] * 8)
    expected = tiny.forward(layout.model, batch).flatten(0, 1)
    few = tiny.batch([12, 12])
    assert close(layout.forward(few.tokens), tiny.forward(layout.model, few).flatten(0, 1))
    assert len(batch.logits_index) > 64
    assert close(tiny.read(layout, ["logits"], batch)["logits"], expected[batch.logits_index])


@contextmanager
def changed(
    layout: Layout, depth: int, position: int | None, frozen: dict[str, Tensor]
) -> Iterator[dict[str, tiny.Heard]]:
    """What attention and MLP of a block give in the model's own forward when the block sees one
    position moved and some of its modules give what they are told."""
    block, names = layout.blocks[depth], layout.block_layouts[depth]
    handles = []

    def move(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        hidden = (args[0] if args else kwargs["hidden_states"]).clone()
        if position is not None:
            hidden[:, position] += 1 + hidden[:, position].flip(-1)
        return (
            ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})
        )

    def freeze(module: nn.Module, args: Any, output: Any) -> Any:
        value = next(v for path, v in frozen.items() if block.get_submodule(path) is module)
        return (value, *output[1:]) if isinstance(output, tuple) else value

    handles.append(block.register_forward_pre_hook(move, with_kwargs=True))
    for path in frozen:
        handles.append(block.get_submodule(path).register_forward_hook(freeze))
    try:
        parts = {path: block.get_submodule(path) for path in (names.attention, names.mlp)}
        with tiny.listening(parts) as heard:
            yield heard
    finally:
        for handle in handles:
            handle.remove()


@each_family
def test_attention_looks_at_other_positions_and_the_mlp_does_not(family: str) -> None:
    """Move one position of a block's input: with attention's output held, the MLP changes there
    alone; attention changes there and later, never before."""
    layout, batch, place = tiny.layout(family), tiny.batch([12, 12]), 4
    for depth in range(layout.depth):
        names = layout.block_layouts[depth]
        with changed(layout, depth, None, {}) as heard:
            tiny.forward(layout.model, batch)
        before = {path: h.tensor for path, h in heard.items()}
        with changed(layout, depth, place, {names.attention: before[names.attention]}) as heard:
            tiny.forward(layout.model, batch)
        moved = (heard[names.mlp].tensor - before[names.mlp]).reshape(2, 12, -1).abs().amax((0, 2))
        assert moved[place] > 0.01
        assert torch.cat([moved[:place], moved[place + 1 :]]).max() < 1e-5
        with changed(layout, depth, place, {}) as heard:
            tiny.forward(layout.model, batch)
        difference = heard[names.attention].tensor - before[names.attention]
        moved = difference.reshape(2, 12, -1).abs().amax((0, 2))
        assert moved[:place].max() < 1e-5
        assert moved[place + 1 :].max() > 0.001


@pytest.mark.slow
@each_family
def test_nothing_is_left_behind(family: str) -> None:
    """A sweep of a twin over every kind of site, branches and logits leaves the model as it was:
    the same parameters, the same numbers in them, no hooks, bit for bit the same forward."""
    model, batch = tiny.build(family, attention="eager"), tiny.batch([10, 7])

    def state() -> tuple[Any, ...]:
        modules = list(model.modules())
        return (
            [(name, id(parameter)) for name, parameter in model.named_parameters()],
            [id(module) for module in modules],
            [
                len(hooks)
                for module in modules
                for hooks in (module._forward_hooks, module._forward_pre_hooks)
            ],
            [sorted(vars(module)) for module in modules],
        )

    before, weights = state(), {k: v.clone() for k, v in model.state_dict().items()}
    logits = tiny.forward(model, batch)
    layout = Layout(model)
    kinds = ("resid", "attn", "mlp", "heads", "pattern")
    sites = [f"{kind}.{n}" for n in range(layout.depth) for kind in kinds]
    branches = [ForwardRun("branch", "twin", parent="reference", start=1, stop=2)]
    twins = {"twin": tiny.twin(layout, "rtn:bits=3"), "half": tiny.twin(layout, "cast:dtype=bf16")}
    tiny.activations(tiny.sweep(layout, [batch], ["embed", *sites, "logits"], twins, branches))
    twins["twin"].model()
    assert state() == before
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert torch.equal(tiny.forward(model, batch), logits)


def is_router(module: nn.Module, layout: Layout) -> bool:
    """A router gives one number an expert."""
    config = layout.config
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    return experts is not None and any(p.shape[0] == experts for p in module.parameters())


@each_family
def test_every_matrix_is_in_a_group_once(family: str) -> None:
    """Every Linear, Conv1D and stack of experts in the blocks, and nothing else, is compressed
    by default; routers are not."""
    layout = tiny.layout(family)
    expected = []
    for depth, block in enumerate(layout.blocks):
        for path, module in block.named_modules():
            name = f"{layout.block_name(depth)}.{path}"
            if isinstance(module, nn.Linear | Conv1D) and not is_router(module, layout):
                expected.append(name)
            stacks = [n for n, p in module.named_parameters(recurse=False) if p.ndim == 3]
            expected += [f"{name}.{stack}" for stack in stacks]
    found = [name for name, _ in layout.matrices()]
    assert sorted(found) == sorted(expected)
    for depth in range(layout.depth):
        maps = [m for group in layout.maps(depth, layout.weights(depth)) for m in group]
        names = [
            (n, s) for n, s in layout.matrices() if n.startswith(f"{layout.block_name(depth)}.")
        ]
        assert [(m.name, tuple(m.weight.shape)) for m in maps] == names


@each_family
def test_a_group_reads_one_input(family: str) -> None:
    """Matrices of a group are called with the same input, those of two groups with two, and
    groups stand in the order data meets them."""
    layout, batch = tiny.layout(family), tiny.batch([9, 9])
    for depth, block in enumerate(layout.blocks):
        groups = [
            [p.module for p in group if p.parameter == "weight"]
            for group in layout.block_layouts[depth].groups
        ]
        groups = [group for group in groups if group]
        modules = {path: block.get_submodule(path) for group in groups for path in group}
        with tiny.listening(modules) as heard:
            tiny.forward(layout.model, batch)
        for group in groups:
            assert all(equal(heard[path].input, heard[group[0]].input) for path in group)
        inputs = [heard[group[0]].input for group in groups]
        assert not any(equal(a, b) for k, a in enumerate(inputs) for b in inputs[:k])
        order = list(heard)
        first = [order.index(group[0]) for group in groups]
        assert first == sorted(first)


@each_family
def test_effective_matrices_are_what_the_modules_do(family: str) -> None:
    """`[out, in]`: what pushing the identity through the module gives, however it is stored."""
    layout = tiny.layout(family)
    for depth, block in enumerate(layout.blocks):
        weights = layout.weights(depth)
        for place in (p for g in layout.block_layouts[depth].groups for p in g):
            if place.parameter == "weight":
                module, effective = (
                    block.get_submodule(place.module),
                    place.effective(weights[place.key]),
                )
                identity = torch.eye(effective.shape[1])
                with torch.no_grad():
                    pushed = module(identity) - module(torch.zeros_like(identity))
                assert close(effective, pushed.T)
                assert torch.equal(place.stored(effective), weights[place.key])


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_effective_experts_are_what_the_modules_do(family: str) -> None:
    """Of the first stack, a column weighs one input and nothing where that input is nought; of
    the second, a row makes one output and no other."""
    layout, batch = tiny.layout(family), tiny.batch([9, 9])
    block, names = layout.blocks[0], layout.block_layouts[0]
    first, second = (p for g in names.groups for p in g if p.parameter != "weight")
    module = block.get_submodule(first.module)
    with tiny.listening({"experts": module}) as heard:
        tiny.forward(layout.model, batch)
    states, *routing = heard["experts"].args

    def run(states: Tensor, name: str, effective: Tensor | None = None) -> Tensor:
        place = {"first": first, "second": second}[name]
        own = {n: p.detach() for n, p in module.named_parameters()}
        if effective is not None:
            own[place.parameter] = place.stored(effective)
        with torch.no_grad():
            return functional_call(module, own, (states, *routing), heard["experts"].kwargs)

    weights = layout.weights(0)
    into, out_of = (p.effective(weights[p.key]).clone() for p in (first, second))
    width = layout.width
    assert into.shape[0] == out_of.shape[0] == 4
    assert into.shape[2] == out_of.shape[1] == width
    silent = states.clone()
    silent[..., 5] = 0
    into[:, :, 5] += 1
    assert torch.allclose(run(silent, "first", into), run(silent, "first"), atol=1e-6)
    assert not torch.allclose(run(states, "first", into), run(states, "first"), atol=1e-3)
    out_of[:, 5] += 1
    difference = (run(states, "second", out_of) - run(states, "second")).abs()
    difference = difference.reshape(-1, width).amax(0)
    assert difference[5] > 1e-3
    assert torch.cat([difference[:5], difference[6:]]).max() < 1e-6


@each_family
def test_the_last_maps_read_heads_and_neurons(family: str) -> None:
    """`heads.N` times the output projection is what attention adds, `neurons.N` times the last
    map what the MLP adds, where no norm stands behind them."""
    layout = tiny.layout(family)
    names, weights, block = layout.block_layouts[0], layout.weights(0), layout.blocks[0]
    tried = 0
    for kind, path, added in (("heads", names.heads, "attn"), ("neurons", names.neurons, "mlp")):
        target = names.attention if added == "attn" else names.mlp
        if path is None or "norm" in target:
            continue
        tried += 1
        read = tiny.read(layout, [f"{kind}.0", f"{added}.0"], tiny.batch([9, 9]))
        place = next(p for g in names.groups for p in g if p.module == path)
        bias = getattr(block.get_submodule(path), "bias", None)
        made = nn.functional.linear(read[f"{kind}.0"], place.effective(weights[place.key]), bias)
        assert close(made.detach(), read[f"{added}.0"])
    assert tried or "norm" in names.attention


@each_family
def test_patterns_are_causal_distributions(family: str) -> None:
    """Under eager attention a row of the pattern says how much a position takes from each
    earlier one: never negative, one in all (less where a sink takes its share), nothing ahead."""
    layout, batch = Layout(tiny.build(family, attention="eager")), tiny.batch([11, 11])
    heads = layout.config.num_attention_heads
    for n in range(layout.depth):
        pattern = tiny.read(layout, [f"pattern.{n}"], batch)[f"pattern.{n}"]
        assert pattern.shape == (2, heads, 11, 11)
        assert pattern.min() >= 0
        assert pattern.triu(1).abs().max() == 0
        total = pattern.sum(-1)
        assert (total < 1).all() if family == "gpt_oss" else close(total, torch.ones_like(total))


@each_family
def test_rows_of_query_maps_are_where_the_layout_says(family: str) -> None:
    """Change the rows that the layout calls the queries of one head: its pattern changes, and its
    part of what the heads give, and no other head's."""
    model, batch, head = tiny.build(family, attention="eager"), tiny.batch([11, 11]), 2
    layout = Layout(model)
    place = next(p for group in layout.block_layouts[0].groups for p in group if p.head_size)
    weight = dict(layout.blocks[0].named_parameters())[place.key]
    size, heads = place.head_size, layout.config.num_attention_heads
    if family == "falcon-40b":
        # Of each key and value head: the queries that read it, then the two.
        start = (head + 2 * (head // 2)) * size
    else:
        start = head * size * (3 if place.fused == "interleaved" else 1)
    sites = ["pattern.0", "heads.0"]
    before = tiny.read(layout, sites, batch)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        rows = place.effective(weight)[start : start + size]
        rows += 0.3 * torch.randn(rows.shape, generator=draw)
    after = tiny.read(layout, sites, batch)
    for name, split in (
        ("pattern.0", lambda t: t),
        ("heads.0", lambda t: t.unflatten(-1, (heads, -1))),
    ):
        axis = 1 if name == "pattern.0" else 2
        moved = (split(after[name]) - split(before[name])).abs().movedim(axis, 0).flatten(1).amax(1)
        others = torch.cat([moved[:head], moved[head + 1 :]]).max()
        assert moved[head] > 1e-3
        # OLMo 2 norms the queries of all heads together.
        assert others < (0.5 * moved[head] if family == "olmo2" else 1e-6)
    kv_heads = getattr(layout.config, "num_key_value_heads", None) or heads
    if family.startswith("falcon"):
        kv_heads = 2 if family == "falcon-40b" else 1
    together = place.effective(weight).shape[0] == (heads + 2 * kv_heads) * size
    assert (place.fused is not None) == together
    assert (place.fused == "grouped") == (together and kv_heads != heads)


@each_family
def test_every_parameter_is_accounted_for(family: str) -> None:
    """The table of parameters names each once, with the kind of thing it is."""
    layout = tiny.layout(family)
    rows = layout.parameters()
    named = dict(layout.model.named_parameters(remove_duplicate=False))
    assert [r.name for r in rows] == list(named)
    assert all(r.shape == tuple(named[r.name].shape) for r in rows)
    matrices = [name for name, _ in layout.matrices()]
    assert sorted(r.module for r in rows if r.kind == "block") == sorted(matrices)
    kinds = {r.kind for r in rows}
    assert kinds <= {"block", "router", "embedding", "unembedding", "norm", "bias"}
    assert {"block", "embedding", "unembedding"} <= kinds
    assert ("router" in kinds) == (family in ("mixtral", "qwen3_moe", "gpt_oss"))
    for row in rows:
        assert (row.kind == "bias") == (row.name.endswith("bias"))
        if row.tied:
            assert named[row.tied] is named[row.name]
            assert row.tied != row.name


def test_post_norm_blocks_are_refused_with_what_was_looked_for() -> None:
    """OPT-350m norms the sum, and nothing in its block is what it adds."""
    with pytest.raises(BitlensError) as caught:
        Layout(tiny.build("opt", do_layer_norm_before=False))
    error = caught.value
    assert "model.decoder.layers.0 (OPTDecoderLayer)" in error.found
    assert "does not add up" in error.found
    assert "self_attn" in error.found
    assert "fc2" in error.found
    assert "output = input + attention + MLP" in error.expected


def test_scaled_residuals_are_refused() -> None:
    """Granite multiplies what it adds: no module's output is what reaches the residual stream."""
    sizes = {**tiny.KNOWN["llama"].tiny, "residual_multiplier": 0.5}
    with pytest.raises(BitlensError, match="does not add up"):
        Layout(tiny.build("granite", **sizes))


def test_an_untried_family_that_fits_works() -> None:
    """Granite without its multiplier is nowhere named, and is swept like the others."""
    layout = Layout(tiny.build("granite", **tiny.KNOWN["llama"].tiny, residual_multiplier=1.0))
    batch = tiny.batch([9, 9])
    logits = tiny.forward(layout.model, batch).flatten(0, 1)[batch.logits_index]
    assert close(tiny.read(layout, ["logits"], batch)["logits"], logits)


@pytest.mark.parametrize(
    ("model_type", "sizes"),
    [
        ("mamba", {"vocab_size": 128, "num_hidden_layers": 2, "hidden_size": 32, "state_size": 4}),
        (
            "rwkv",
            {
                "vocab_size": 128,
                "num_hidden_layers": 2,
                "hidden_size": 32,
                "attention_hidden_size": 32,
            },
        ),
        ("openai-gpt", {"vocab_size": 128, "n_layer": 2, "n_embd": 32, "n_head": 2}),
    ],
)
def test_models_without_such_blocks_are_refused(model_type: str, sizes: dict[str, int]) -> None:
    """Whatever does not fit is an error a user can read, never a traceback."""
    with pytest.raises(BitlensError) as caught:
        Layout(tiny.build(model_type, **sizes))
    assert "families" in caught.value.remedy


def test_blocks_of_several_structures_have_layouts_of_their_own() -> None:
    """A Qwen3-MoE whose second block is dense: its matrices are its own, and the sweep goes on."""
    layout = Layout(tiny.build("qwen3_moe", mlp_only_layers=[1]))
    names = [name for name, _ in layout.matrices()]
    assert {n.split(".")[2] for n in names if ".experts." in n} == {"0", "2"}
    assert [n for n in names if n.endswith("mlp.up_proj")] == ["model.layers.1.mlp.up_proj"]
    batch = tiny.batch([9, 6])
    logits = tiny.forward(layout.model, batch).flatten(0, 1)[batch.logits_index]
    assert close(tiny.read(layout, ["logits"], batch)["logits"], logits)


def test_the_gate_of_a_shared_expert_is_a_router() -> None:
    """Qwen2-MoE weighs its shared expert by a map with one output, which is left alone."""
    sizes = {
        **tiny.KNOWN["llama"].tiny,
        "num_experts": 4,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
    }
    layout = Layout(tiny.build("qwen2_moe", **sizes))
    assert all(min(shape) > 1 for _, shape in layout.matrices())
    assert {r.kind for r in layout.parameters() if "shared_expert_gate" in r.name} == {"router"}


def test_a_model_without_a_list_of_blocks_is_refused() -> None:
    """Two lists of blocks (an encoder's and a decoder's) are one too many; they are listed."""
    config = AutoConfig.for_model("t5", vocab_size=128, d_model=32, num_layers=2, num_heads=2)
    with pytest.raises(BitlensError) as caught:
        Layout(AutoModelForSeq2SeqLM.from_config(config))
    assert "encoder.block (2)" in caught.value.found
    assert "decoder.block (2)" in caught.value.found
    assert "num_hidden_layers" in caught.value.expected


def test_a_block_that_writes_over_its_input_changes_nothing_else() -> None:
    """Runs that stand on the same states, and what was read of them, stay as they were."""
    model = tiny.build("llama")
    plain, batch = Layout(model), tiny.batch([9, 7])
    own = type(model.model.layers[0]).forward

    def forward(block: nn.Module, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden_states.copy_(own(block, hidden_states.clone(), *args, **kwargs))

    writing = tiny.build("llama")
    for block in writing.model.layers:
        block.__class__ = type("Writing", (type(block),), {"forward": forward})
    layout = Layout(writing)
    assert all(names.in_place for names in layout.block_layouts)
    assert not any(names.in_place for names in plain.block_layouts)
    sites = ["embed", "resid.0", "attn.1", "mlp.1", "resid.2", "logits"]
    branch = ForwardRun("branch", "twin", parent="reference", start=1, stop=2)
    found = [
        tiny.activations(
            tiny.sweep(of, [batch], sites, {"twin": tiny.twin(of, "rtn:bits=3")}, [branch])
        )
        for of in (plain, layout)
    ]
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(value, found[1][key]) for key, value in found[0].items())
