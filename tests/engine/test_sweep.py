"""Laws of the depth sweep: every run is what the model itself would have computed."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitlens.engine.interventions import Intervention
from bitlens.engine.plan import TokenBatch
from bitlens.engine.runs import REFERENCE, ForwardRun
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.sites import site
from tests.support import tiny
from tests.support.compression_texts import EVERYWHERE

each_family = pytest.mark.parametrize("family", tiny.NAMES)
ragged = pytest.mark.parametrize("lengths", [[12, 12], [12, 7, 3]], ids=["even", "padded"])


def resids(layout: Layout) -> list[str]:
    return ["embed", *(f"resid.{n}" for n in range(layout.depth))]


def all_equal(
    found: tiny.ActivationsByStep, run: str, own: dict[str, Tensor], number: int = 0
) -> None:
    """A run's hidden states are bit for bit these."""
    for name, value in own.items():
        if name != "logits":
            assert torch.equal(found[(run, name, number)], value), f"{run} differs at {name}"


def logits_close(found: Tensor, own: Tensor, batch: TokenBatch) -> None:
    wanted = own.flatten(0, 1)[batch.logits_index].float()
    assert found.dtype == torch.float32
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@each_family
@ragged
def test_hidden_states_are_the_models_own(family: str, lengths: list[int]) -> None:
    """Bit for bit what plain hooks see in the model's own forward on the same batch, padding
    included; so are what attention and MLP add."""
    layout, batch = tiny.layout(family), tiny.batch(lengths)
    own = tiny.own_states(layout.model, layout, batch)
    parts = {
        f"{kind}.{n}": block.get_submodule(path)
        for n, (block, names) in enumerate(zip(layout.blocks, layout.block_layouts, strict=True))
        for kind, path in (("attn", names.attention), ("mlp", names.mlp))
    }
    with tiny.listening(parts) as heard:
        tiny.forward(layout.model, batch)
    own |= {name: h.tensor.reshape(own["embed"].shape) for name, h in heard.items()}
    found = tiny.activations(tiny.sweep(layout, [batch], list(own)))
    all_equal(found, REFERENCE, own)
    logits_close(found[(REFERENCE, "logits", 0)], own["logits"], batch)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text", "qwen3_moe", "bloom"])
def test_half_precision_references(family: str, dtype: torch.dtype) -> None:
    """A reference in half precision is swept in it, bit for bit as the model computes; so is its
    twin in the other half precision."""
    layout, batch = Layout(tiny.build(family, dtype), dtype), tiny.batch([12, 7])
    other = "float16" if dtype == torch.bfloat16 else "bfloat16"
    twins = {t: tiny.twin(layout, t) for t in ("rtn:bits=3", f"cast:dtype={other}")}
    found = tiny.activations(tiny.sweep(layout, [batch], [*resids(layout), "logits"], twins))
    assert found[(REFERENCE, "resid.0", 0)].dtype == dtype
    assert found[(f"cast:dtype={other}", "resid.0", 0)].dtype == getattr(torch, other)
    models = {REFERENCE: layout.model} | {name: twin.model() for name, twin in twins.items()}
    for name, model in models.items():
        own = tiny.own_states(model, layout, batch)
        all_equal(found, name, own)
        assert torch.isfinite(own["logits"]).all()
        wanted = own["logits"].flatten(0, 1)[batch.logits_index].float()
        logits = found[(name, "logits", 0)]
        assert (logits - wanted).abs().max() <= 2**-6 * wanted.abs().max()


ROUNDING = ("int8", "fp8", "smoothquant", "w8a8", "nvfp4:activations", "mxfp4:activations")
"""Compressions that round inputs."""


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama", "bloom", "qwen3_moe", "gpt_oss"])
@pytest.mark.parametrize("text", EVERYWHERE)
def test_a_twin_is_its_model(family: str, text: str) -> None:
    """Sweeping a twin, whatever its compression, is running the whole model with its weights."""
    layout, batch = tiny.layout(family), tiny.batch([12, 7])
    twin = tiny.twin(layout, text)
    if "activations=none" not in text and text.startswith(ROUNDING):
        if any(example.weight.ndim == 3 for example in layout.examples()):
            with pytest.raises(BitlensError, match="fused experts are rounded in a sweep only"):
                twin.model()
            return
        # A whole model is not told where its padding is.
        batch = tiny.batch([12, 12])
    found = tiny.activations(
        tiny.sweep(layout, [batch], [*resids(layout), "logits"], {"twin": twin})
    )
    own = tiny.own_states(twin.model(), layout, batch)
    all_equal(found, "twin", own)
    reference = found[(REFERENCE, "resid.2", 0)]
    assert torch.equal(found[("twin", "resid.2", 0)].float(), reference) == (text == "nothing")
    wanted = own["logits"].flatten(0, 1)[batch.logits_index].float()
    tolerance = 1e-5 if twin.dtype is None else 1e-2
    assert (found[("twin", "logits", 0)] - wanted).abs().max() <= tolerance * wanted.abs().max()


@pytest.mark.parametrize("family", ["gpt2", "llama", "cohere"])
def test_compressed_embeddings_are_the_twins_own(family: str) -> None:
    """Where a pattern asks for the embedding, tied or not, the twin starts from its own and its
    logits come from its own."""
    layout, batch = tiny.layout(family), tiny.batch([12, 7])
    names = ",".join(m.name for m in layout.shell_maps())
    twin = tiny.twin(layout, f"rtn:bits=3,include=[{names}]")
    found = tiny.activations(
        tiny.sweep(layout, [batch], [*resids(layout), "logits"], {"twin": twin})
    )
    own = tiny.own_states(twin.model(), layout, batch)
    all_equal(found, "twin", own)
    logits_close(found[("twin", "logits", 0)], own["logits"], batch)
    assert not torch.equal(found[("twin", "embed", 0)], found[(REFERENCE, "embed", 0)])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text"])
def test_every_run_attends_alike(
    family: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference and twin use the implementation the model was loaded with: a twin that is the
    reference is so bit for bit, and only eager attention hands out its pattern."""
    layout, batch = Layout(tiny.build(family, attention=attention)), tiny.batch([12, 7])
    twins = {"nothing": tiny.twin(layout, "nothing")}
    sites = [*resids(layout), "logits"] + (["pattern.1"] if attention == "eager" else [])
    used: list[bool] = []
    sdpa = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *args, **kwargs: used.append(True) or sdpa(*args, **kwargs),
    )
    found = tiny.activations(tiny.sweep(layout, [batch], sites, twins))
    assert len(used) == (2 * layout.depth if attention == "sdpa" else 0)
    for name in sites:
        assert torch.equal(found[("nothing", name, 0)], found[(REFERENCE, name, 0)])


@pytest.fixture
def blocks_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of every call of a Llama block, as they come."""
    calls: list[int] = []
    cls = type(tiny.layout("llama").blocks[0])
    forward = cls.forward

    def counted(self: nn.Module, hidden: Tensor, *args: object, **kwargs: object) -> object:
        calls.append(hidden.shape[0] * hidden.shape[1])
        return forward(self, hidden, *args, **kwargs)

    monkeypatch.setattr(cls, "forward", counted)
    return calls


@pytest.mark.parametrize("twins", [0, 1, 3])
def test_the_reference_is_computed_once_for_all_twins(twins: int, blocks_run: list[int]) -> None:
    """So many twins cost so many forwards, and one for the reference; the embedding is made once
    a batch for all that share it."""
    layout = tiny.layout("llama")
    batches = [tiny.batch([8, 8], number=0), tiny.batch([6, 4], number=1)]
    made = {f"twin {n}": tiny.twin(layout, f"rtn:bits={n + 2}") for n in range(twins)}
    entered = []
    enter = layout.shell.enter
    try:
        layout.shell.enter = lambda *args, **of: entered.append(args) or enter(*args, **of)  # type: ignore
        swept = tiny.sweep(layout, batches, [*resids(layout), "logits"], made)
        tiny.activations(swept)
    finally:
        del layout.shell.enter
    assert blocks_run == [n for _ in range(3) for n in (16, 12) for _ in range(twins + 1)]
    assert len(entered) == 2
    assert swept.forwards() == twins + 1


def test_branches_cost_the_depth_they_have_to_go(blocks_run: list[int]) -> None:
    """What a sweep says it will cost is what it costs, and what it reports as progress."""
    layout = tiny.layout("llama")
    batches = [tiny.batch([8, 8]), tiny.batch([6, 4], number=1, subset=False)]
    branches = [
        ForwardRun("local", "twin", parent=REFERENCE, start=1, stop=2, subset=True),
        ForwardRun("late", "twin", parent=REFERENCE, start=2),
    ]
    told: list[int] = []
    twins = {"twin": tiny.twin(layout, "rtn:bits=3")}
    swept = tiny.sweep(layout, batches, ["resid.2"], twins, branches)
    for wave in swept.waves:
        assert list(swept.run(wave, told.append))
    # Of 28 tokens in 3 blocks: two whole runs, one block of 16 tokens, one block of all 28.
    assert sum(blocks_run) == sum(told) == 2 * 3 * 28 + 16 + 28
    assert swept.forwards() == pytest.approx((2 * 3 * 28 + 16 + 28) / (3 * 28))


@each_family
def test_a_branch_that_changes_nothing_is_its_parent(family: str) -> None:
    """From whatever depth it leaves, and whoever's run it leaves: bit for bit the parent."""
    layout, batch = tiny.layout(family), tiny.batch([12, 7])
    branches = [
        ForwardRun(f"{parent}.{start}", parent, parent=parent, start=start)
        for parent in (REFERENCE, "twin")
        for start in range(layout.depth)
    ]
    sites = [*resids(layout)[1:], f"attn.{layout.depth - 1}", f"mlp.{layout.depth - 1}", "logits"]
    twins = {"twin": tiny.twin(layout, "rtn:bits=3")}
    found = tiny.activations(tiny.sweep(layout, [batch], sites, twins, branches))
    for branch in branches:
        for name in sites:
            value = found.get((branch.name, name, 0))
            ran = name == "logits" or int(name.partition(".")[2]) >= branch.start
            assert (value is not None) == ran
            if value is not None:
                assert torch.equal(value, found[(branch.parent, name, 0)])


@pytest.mark.slow
@each_family
@ragged
def test_a_local_branch_is_the_twins_block_on_the_references_input(
    family: str, lengths: list[int]
) -> None:
    """By hand: the block of the twin's model, called as the reference calls its own."""
    layout, batch = tiny.layout(family), tiny.batch(lengths)
    twins = {"twin": tiny.twin(layout, "rtn:bits=2"), "half": tiny.twin(layout, "cast:dtype=bf16")}
    depths = range(layout.depth)
    branches = [
        ForwardRun(f"{t}.{d}", t, parent=REFERENCE, start=d, stop=d + 1, subset=True)
        for t in twins
        for d in depths
    ]
    found = tiny.activations(tiny.sweep(layout, [batch], resids(layout), twins, branches))
    model = twins["twin"].model()
    with tiny.listening({str(n): block for n, block in enumerate(layout.blocks)}) as heard:
        tiny.forward(layout.model, batch)
    for depth in depths:
        block = model.get_submodule(layout.block_name(depth))
        with torch.no_grad():
            output = block(*heard[str(depth)].args, **heard[str(depth)].kwargs)
        by_hand = output[0] if isinstance(output, tuple) else output
        local = found[(f"twin.{depth}", f"resid.{depth}", 0)]
        assert torch.equal(local, by_hand)
        assert not torch.equal(local, heard[str(depth)].tensor)
        # In another dtype: close to the reference, and not the same.
        rounded = found[(f"half.{depth}", f"resid.{depth}", 0)]
        assert rounded.dtype == torch.bfloat16
        error = (rounded.float() - heard[str(depth)].tensor).norm()
        assert 0 < error < 0.03 * heard[str(depth)].tensor.norm()
    first = found[("twin.0", "resid.0", 0)]
    assert torch.equal(first, found[("twin", "resid.0", 0)])


@pytest.mark.slow
@each_family
def test_one_block_from_the_twin_is_a_model_with_one_block_compressed(family: str) -> None:
    """A branch of the reference that takes one block from the twin and goes on to the logits is
    the model in which that block alone is compressed; and the other way round."""
    layout, batch = tiny.layout(family), tiny.batch([12, 7])
    depths = range(layout.depth)
    branches = [
        ForwardRun(f"only {d}", "twin", parent=REFERENCE, start=d, own_blocks=range(d, d + 1))
        for d in depths
    ]
    branches += [
        ForwardRun(
            f"all but {d}",
            REFERENCE,
            parent="twin",
            start=d,
            own_blocks=range(d, d + 1),
            base_model="twin",
        )
        for d in depths
    ]
    twins = {"twin": tiny.twin(layout, "rtn:bits=2")}
    found = tiny.activations(
        tiny.sweep(layout, [batch], [*resids(layout), "logits"], twins, branches)
    )
    for depth in depths:
        pattern = f"{layout.block_name(depth)}.*"
        for name, settings in (("only", "include"), ("all but", "exclude")):
            whole = tiny.twin(layout, f"rtn:bits=2,{settings}=[{pattern}]").model()
            own = tiny.own_states(whole, layout, batch)
            for later in range(depth, layout.depth):
                key = (f"{name} {depth}", f"resid.{later}", 0)
                assert torch.equal(found[key], own[f"resid.{later}"])
            logits_close(found[(f"{name} {depth}", "logits", 0)], own["logits"], batch)


def test_a_block_in_another_dtype_on_the_way() -> None:
    """One block of a twin that computes in bfloat16, the rest of the way the reference's: only
    that block is rounded, and what follows is in the reference's dtype again."""
    layout, batch = tiny.layout("llama"), tiny.batch([12, 7])
    branch = ForwardRun("only 1", "half", parent=REFERENCE, start=1, own_blocks=range(1, 2))
    twins = {"half": tiny.twin(layout, "cast:dtype=bf16")}
    found = tiny.activations(
        tiny.sweep(layout, [batch], [*resids(layout), "logits"], twins, [branch])
    )
    assert found[("only 1", "resid.1", 0)].dtype == torch.bfloat16
    assert found[("only 1", "resid.2", 0)].dtype == torch.float32
    error = (found[("only 1", "logits", 0)] - found[(REFERENCE, "logits", 0)]).abs().max()
    assert 0 < error < (found[("half", "logits", 0)] - found[(REFERENCE, "logits", 0)]).abs().max()


@pytest.mark.parametrize("at", ["layers.0", "layers.1", "embed_tokens"])
def test_a_twin_that_fails_drops_out(at: str) -> None:
    """Its weights cannot be made from some depth on: it ends there, its branches and whatever needs
    its blocks with it, and everyone else goes on as without it."""
    layout, batches = tiny.layout("llama"), [tiny.batch([8, 8]), tiny.batch([6], number=1)]
    include = ("layers.*", "embed_tokens") if at == "embed_tokens" else ()
    twins = {
        "bad": tiny.twin(layout, tiny.Refuse(include=include, at=at)),
        "good": tiny.twin(layout, "rtn:bits=3"),
    }
    branches = [
        ForwardRun("bad local", "bad", parent=REFERENCE, start=2, stop=3, subset=True),
        ForwardRun("mended", REFERENCE, parent="bad", start=2),
        ForwardRun("spoilt", "good", parent=REFERENCE, own_blocks=range(0, 1), base_model="bad"),
        ForwardRun("good local", "good", parent=REFERENCE, start=2, stop=3),
    ]
    sites = [*resids(layout), "logits"]
    swept = tiny.sweep(layout, batches, sites, twins, branches)
    found = tiny.activations(swept)
    assert list(swept.failed) == ["bad"]
    assert f"{at} will not do" in swept.failed["bad"]
    last = {"layers.0": -1, "layers.1": 0, "embed_tokens": -2}[at]
    for name in sites[1:]:
        depth = 3 if name == "logits" else int(name[-1])
        assert (("bad", name, 0) in found) == (depth <= last)
    assert not {"bad local", "mended"} & {run for run, _, _ in found}
    assert ("spoilt", "logits", 0) not in found
    alone = tiny.activations(
        tiny.sweep(layout, batches, sites, {"good": twins["good"]}, branches[3:])
    )
    for (run, name, number), value in alone.items():
        assert torch.equal(found[(run, name, number)], value)


def test_a_run_that_overflows_is_reported_where_it_does() -> None:
    """Activations beyond float16's 65,504 are found at the block that makes them; the reference
    and the other twin are not blamed."""
    model = tiny.build("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(1e5)
    layout, batch = Layout(model), tiny.batch([8, 8])
    twins = {t: tiny.twin(layout, f"cast:dtype={t}") for t in ("float16", "bfloat16")}
    swept = tiny.sweep(layout, [batch], resids(layout), twins)
    found = tiny.activations(swept)
    assert swept.overflowed == {"float16": "resid.1"}
    assert not swept.failed
    assert torch.isfinite(found[("float16", "resid.0", 0)]).all()
    assert torch.isfinite(found[("bfloat16", "resid.2", 0)]).all()


def test_a_reference_that_overflows_is_refused() -> None:
    """Without a finite reference there is nothing to compare with: the error says where it is
    lost, and in which dtype it might not be. In that dtype it is not, of the same weights."""
    model = tiny.build("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(1e5)
    layout = Layout(model.half(), torch.float16)
    with pytest.raises(BitlensError) as caught:
        tiny.read(layout, resids(layout), tiny.batch([8, 8]))
    assert "resid.1" in caught.value.found
    assert "--compute float32" in caught.value.remedy
    wide = Layout(model.half())
    assert torch.isfinite(tiny.read(wide, ["logits"], tiny.batch([8, 8]))["logits"]).all()


@pytest.fixture
def many() -> Iterator[list[TokenBatch]]:
    return [tiny.batch([n, n], number=k, seed=k) for k, n in enumerate((9, 8, 8, 5, 3))]


@pytest.mark.parametrize("budget", [0, 20_000, 30_000, 1 << 30])
def test_waves_keep_to_the_budget(many: list[TokenBatch], budget: int) -> None:
    """Every batch is in one wave, in order; a wave keeps to the budget unless it is one batch;
    what is read is bit for bit the same."""
    layout = tiny.layout("llama")
    twins = {"twin": tiny.twin(layout, "rtn:bits=3")}
    sites = [*resids(layout), "logits"]
    swept = tiny.sweep(layout, many, sites, twins, hidden_bytes=budget)
    assert [b.number for wave in swept.waves for b in wave] == [0, 1, 2, 3, 4]
    for wave in swept.waves:
        assert len(wave) == 1 or sum(map(swept.hidden_bytes, wave)) <= budget
    assert (len(swept.waves) == 1) == (budget == 1 << 30)
    assert (len(swept.waves) == 5) == (budget == 0)
    whole = tiny.activations(tiny.sweep(layout, many, sites, twins))
    found = tiny.activations(swept)
    assert found.keys() == whole.keys()
    assert all(torch.equal(value, whole[key]) for key, value in found.items())


@pytest.mark.slow
def test_a_wave_leaves_no_states_behind(many: list[TokenBatch]) -> None:
    """What bounds a wave bounds the sweep: states of earlier waves are gone (the shell keeps
    what it embedded last)."""
    layout = tiny.layout("llama")
    swept = tiny.sweep(layout, many, resids(layout), hidden_bytes=0)
    seen: list[weakref.ref[Tensor]] = []
    for wave in swept.waves:
        for step in swept.run(wave):
            seen += map(weakref.ref, step.activations[REFERENCE].values())
            del step
        gc.collect()
        assert sum(states() is not None for states in seen) <= 1


def test_steps_come_depth_by_depth(many: list[TokenBatch]) -> None:
    """All batches of a wave pass one depth before the next: the embedding, every block, logits."""
    layout = tiny.layout("llama")
    swept = tiny.sweep(layout, many, [*resids(layout), "logits"])
    order = [(step.depth, step.batch.number) for step in tiny.steps(swept)]
    assert order == [(depth, batch) for depth in range(-1, 4) for batch in range(5)]


@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_logits_come_in_parts_that_fit(chunk: int, many: list[TokenBatch]) -> None:
    """A few positions at a time, with the index that says which; together every predicting
    position once, whatever the size of the parts."""
    layout = tiny.layout("llama")
    swept = tiny.sweep(layout, many, ["logits"])
    swept.chunk = chunk
    whole = {b.number: tiny.forward(layout.model, b).flatten(0, 1) for b in many}
    seen: dict[int, list[Tensor]] = {}
    for step in tiny.steps(swept):
        if step.depth == layout.depth:
            logits = step.activations[REFERENCE]["logits"]
            assert len(logits) == len(step.index) <= chunk
            assert torch.allclose(logits, whole[step.batch.number][step.index], atol=1e-5)
            seen.setdefault(step.batch.number, []).append(step.index)
    for batch in many:
        assert torch.equal(torch.cat(seen[batch.number]), batch.logits_index)


def test_branches_of_the_subset_see_no_other_batch() -> None:
    """A run on the seeded subset runs where the batch is of it, and nowhere else."""
    layout = tiny.layout("llama")
    batches = [tiny.batch([8, 8]), tiny.batch([8, 8], number=1, subset=False)]
    branch = ForwardRun("local", "twin", parent=REFERENCE, start=1, stop=2, subset=True)
    twins = {"twin": tiny.twin(layout, "rtn:bits=3")}
    found = tiny.activations(tiny.sweep(layout, batches, ["resid.1"], twins, [branch]))
    assert {number for run, _, number in found if run == "local"} == {0}
    assert {number for run, _, number in found if run == "twin"} == {0, 1}


def test_pattern_without_eager_attention_is_refused() -> None:
    """sdpa hands out no pattern: an error says which attention does."""
    layout = Layout(tiny.build("llama", attention="sdpa"))
    with pytest.raises(BitlensError, match="eager"):
        tiny.read(layout, ["pattern.0"], tiny.batch([5]))


EDITED = ["gpt2", "gpt_neox", "llama", "gemma3_text", "opt", "bloom", "qwen3_moe"]
SITES = ["embed", "resid.0", "resid.2", "attn.1", "mlp.1"]


def spliced(name: str, change: Callable[[Tensor], Tensor], parent: str = REFERENCE) -> ForwardRun:
    intervention = Intervention(site=name, change=lambda own, given: change(own))
    return ForwardRun(
        "spliced",
        parent,
        parent=parent,
        start=intervention.start,
        interventions=(intervention,),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("family", EDITED)
def test_an_edit_that_changes_nothing_is_its_parent(family: str, name: str) -> None:
    """What is put in place of an activation is itself: everything from there on is bit for bit
    the parent's, in the reference's dtype and in half of it."""
    layout, batch = tiny.layout(family), tiny.batch([12, 7])
    twins = {"half": tiny.twin(layout, "cast:dtype=bf16")}
    for parent in (REFERENCE, "half"):
        branch = spliced(name, lambda x: x, parent)
        swept = tiny.sweep(layout, [batch], [*resids(layout), "logits"], twins, [branch])
        found = tiny.activations(swept)
        for later in range(branch.start, layout.depth):
            here = found[("spliced", f"resid.{later}", 0)]
            assert torch.equal(here, found[(parent, f"resid.{later}", 0)])
        assert torch.equal(found[("spliced", "logits", 0)], found[(parent, "logits", 0)])


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("family", EDITED)
def test_an_edit_is_what_a_hook_on_the_whole_model_does(family: str, name: str) -> None:
    """The states at the positions that count turned round and shrunk, by a hook on the module of
    the model itself: the same logits; and not those of the parent."""
    layout, batch = tiny.layout(family), tiny.batch([12, 7])

    def change(x: Tensor) -> Tensor:
        return 0.5 * x.flip(-1)

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        flat = states.flatten(0, -2).clone()
        flat[batch.index] = change(flat[batch.index])
        changed = flat.view_as(states)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
        if args:
            return (hook(module, (), args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": hook(module, (), kwargs["hidden_states"])}

    at = site(name)
    block = layout.model.get_submodule(layout.block_name(max(at.depth, 0)))
    names = layout.block_layouts[max(at.depth, 0)]
    if at.kind == "embed":
        handle = block.register_forward_pre_hook(before, with_kwargs=True)
    else:
        paths = {"attn": names.attention, "mlp": names.mlp}
        module = block.get_submodule(paths[at.kind]) if at.kind in paths else block
        handle = module.register_forward_hook(hook)
    try:
        by_hand = tiny.forward(layout.model, batch)
    finally:
        handle.remove()
    swept = tiny.sweep(layout, [batch], ["logits"], {}, [spliced(name, change)])
    found = tiny.activations(swept)
    logits_close(found[("spliced", "logits", 0)], by_hand, batch)
    clean = found[(REFERENCE, "logits", 0)]
    assert (found[("spliced", "logits", 0)] - clean).abs().max() > 1e-3


def test_an_edit_leaves_padding_and_first_positions_alone() -> None:
    """Only the positions that count are handed to it, and only they are changed."""
    layout, batch = tiny.layout("llama"), tiny.batch([12, 7])
    seen = []

    def nought(x: Tensor) -> Tensor:
        seen.append(x.shape)
        return torch.zeros_like(x)

    branch = spliced("mlp.1", nought)
    found = tiny.activations(tiny.sweep(layout, [batch], ["mlp.1"], {}, [branch]))
    edited, clean = (found[(s, "mlp.1", 0)].flatten(0, 1) for s in ("spliced", REFERENCE))
    others = torch.ones(len(clean), dtype=torch.bool)
    others[batch.index] = False
    assert seen == [(len(batch.index), layout.width)]
    assert torch.equal(edited[others], clean[others])
    assert others.any()
    assert not edited[batch.index].any()


def test_what_is_read_of_one_twin_is_gone_before_the_next_runs() -> None:
    """Attention patterns of all twins at once would not fit: at most the reference's and one
    twin's stand side by side, and the reference's are the same for all."""
    layout = tiny.eager("llama")
    twins = {f"twin {bits}": tiny.twin(layout, f"rtn:bits={bits}") for bits in (2, 3, 4)}
    swept = tiny.sweep(layout, [tiny.batch([9, 7])], ["pattern.1"], twins)
    alive: dict[str, weakref.ref[Tensor]] = {}
    reference: list[Tensor] = []
    for step in swept.run(swept.batches):
        if "pattern.1" in step.activations.get(REFERENCE, {}):
            assert len(step.activations) == 2
            assert (REFERENCE in step.again) == bool(reference)
            reference.append(step.activations[REFERENCE]["pattern.1"])
            assert reference[-1] is reference[0]
            assert not any(pattern() is not None for pattern in alive.values())
            (name,) = step.activations.keys() - {REFERENCE}
            alive[name] = weakref.ref(step.activations[name]["pattern.1"])
        del step
    assert alive.keys() == twins.keys()
