"""Laws of interventions: what is put in the place of an activation, there and nowhere else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitlens.engine.interventions import (
    Change,
    Intervention,
    Which,
    added,
    constant,
    head_columns,
    intervened_positions,
    taken,
)
from bitlens.engine.plan import TokenBatch
from bitlens.engine.runs import REFERENCE, ForwardRun
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.sites import site
from tests.support import tiny

LENGTHS = (12, 7)
SITES = ["embed", "resid.0", "resid.2", "attn.1", "mlp.1", "heads.1", "neurons.1"]
WHICH: list[Which] = ["counted", "marked", "last"]
BY_HAND = {"marked": [[2, 5], [3]], "last": [[11], [6]], "counted": [range(1, 12), range(1, 7)]}
"""By row of the batch, its positions."""
each_which = pytest.mark.parametrize("which", WHICH)
each_site = pytest.mark.parametrize("name", SITES)
each_family = pytest.mark.parametrize("family", ["gpt2", "llama", "opt", "bloom", "gpt_neox"])


def unchanged(own: Tensor, given: Tensor) -> Tensor:
    return own


def shrunk(own: Tensor, given: Tensor) -> Tensor:
    return 0.5 * own.flip(-1)


def marked_batch(rows: Sequence[int] = (0, 1)) -> TokenBatch:
    """Two documents, the second padded, or one of them; the first has two marked positions, one of
    them twice as long."""
    both = tiny.batch(LENGTHS)
    mark = torch.full((2, 12), -1)
    mark[0, 2], mark[0, 5], mark[1, 3] = 0, 1, 0
    if len(rows) == 2:
        return replace(both, mark=mark.flatten())
    (row,) = rows
    length = LENGTHS[row]
    alone = tiny.batch([length])
    target = both.target.view(2, 12)[row, :length]
    tokens = both.tokens[row : row + 1, :length]
    return replace(alone, tokens=tokens, target=target, mark=mark[row, :length])


def by_hand(which: str, batch: TokenBatch, rows: Sequence[int] = (0, 1)) -> Tensor:
    """Flattened positions, written down above."""
    width = batch.tokens.shape[1]
    found = [n * width + at for n, row in enumerate(rows) for at in BY_HAND[which][row]]
    return torch.tensor(found)


def branch(
    *interventions: Intervention, model: str = REFERENCE, name: str = "changed"
) -> ForwardRun:
    """A run that leaves its model's where the first of them is."""
    start = min(i.start for i in interventions)
    return ForwardRun(name, model, parent=model, start=start, interventions=interventions)


def logits(
    layout: Layout,
    batch: TokenBatch,
    runs: Sequence[ForwardRun],
    twins: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """By run, of the positions that predict."""
    found = read(layout, batch, runs, twins)
    return {run: sites["logits"] for run, sites in found.items()}


def read(
    layout: Layout,
    batch: TokenBatch,
    runs: Sequence[ForwardRun],
    twins: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Tensor]]:
    """By run and site: logits, and the states after the last block where the run has them."""
    last = f"resid.{layout.depth - 1}"
    found = tiny.activations(tiny.sweep(layout, [batch], [last, "logits"], twins, runs))
    by_run: dict[str, dict[str, Tensor]] = {}
    for (run, name, _), value in found.items():
        by_run.setdefault(run, {})[name] = value
    return by_run


def module_of(model: nn.Module, layout: Layout, name: str) -> tuple[nn.Module, bool]:
    """The module of a whole model that a site is at, and whether it is what that is given."""
    place = site(name)
    block = model.get_submodule(layout.block_name(max(place.depth, 0)))
    names = layout.block_layouts[max(place.depth, 0)]
    paths = {"attn": names.attention, "mlp": names.mlp, "heads": names.heads}
    paths["neurons"] = names.neurons
    path = paths.get(place.kind)
    return (block.get_submodule(path) if path else block), place.kind in (
        "embed",
        "heads",
        "neurons",
    )


@contextmanager
def hooked(
    model: nn.Module, layout: Layout, name: str, change: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """A plain hook on the model's own module: `change` of what it is given or hands out."""
    module, given = module_of(model, layout, name)

    def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        return change(output)

    if given:
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def at(index: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`change` of the flattened positions and their index, the others as they are."""

    def whole(states: Tensor) -> Tensor:
        flat = states.flatten(0, -2).clone()
        flat[index] = change(flat[index], index)
        return flat.view_as(states)

    return whole


def close(found: Tensor, own: Tensor, batch: TokenBatch) -> None:
    wanted = own.flatten(0, 1)[batch.logits_index].float()
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def all_close(
    found: Mapping[str, Tensor], model: nn.Module, layout: Layout, batch: TokenBatch
) -> None:
    """Logits, and states at all positions, are those of the whole model as it is hooked."""
    own = tiny.own_states(model, layout, batch)
    for name, value in found.items():
        if name == "logits":
            close(value, own[name], batch)
        else:
            assert (value - own[name]).abs().max() <= 1e-5 * own[name].abs().max()


def differ(found: Mapping[str, Tensor], parent: Mapping[str, Tensor]) -> bool:
    return any(not torch.allclose(value, parent[name]) for name, value in found.items())


@pytest.mark.slow
@each_which
@each_site
@pytest.mark.parametrize("change", [unchanged, added(torch.zeros(1)), taken])
def test_what_changes_nothing_is_the_parent(change: Change, name: str, which: Which) -> None:
    """The value itself, a vector of zeros on top, and what the parent has there, taken from it:
    bit for bit the parent, in the reference's dtype and in half of it."""
    layout, batch = tiny.layout("llama"), marked_batch()
    twins = {"half": tiny.twin(layout, "cast:dtype=bf16")}
    for model in (REFERENCE, "half"):
        source = model if change is taken else None
        same = Intervention(site=name, change=change, source=source, positions=which)
        found = logits(layout, batch, [branch(same, model=model)], twins)
        assert torch.equal(found["changed"], found[model])


@pytest.mark.slow
@each_which
@each_site
@each_family
def test_it_is_what_a_hook_on_the_whole_model_does(family: str, name: str, which: Which) -> None:
    """States turned round and shrunk at the positions written down; and not the parent's."""
    layout, batch = tiny.layout(family), marked_batch()
    run = branch(Intervention(site=name, change=shrunk, positions=which))
    found = read(layout, batch, [run])
    change = at(by_hand(which, batch), lambda x, index: shrunk(x, x))
    with hooked(layout.model, layout, name, change):
        all_close(found["changed"], layout.model, layout, batch)
    # What is put behind the last block at the end of a window predicts nothing.
    unseen = (name, which) == ("resid.2", "last")
    assert differ(found["changed"], found[REFERENCE]) == (not unseen)


@each_family
def test_a_head_is_its_columns(family: str) -> None:
    """A head without output, by a hook that empties its share of what is projected; all heads so,
    one after another in one run, are attention that adds what it adds of nothing."""
    layout, batch = tiny.layout(family), marked_batch()
    heads = layout.config.num_attention_heads
    module, _ = module_of(layout.model, layout, "heads.1")
    with tiny.listening({"projection": module}) as heard:
        tiny.forward(layout.model, batch)
    size = heard["projection"].input.shape[-1] // heads

    def ablated(head: int) -> Intervention:
        columns = head_columns(layout, 1, head)
        return Intervention(site="heads.1", change=constant(torch.zeros(1)), columns=columns)

    found = logits(
        layout, batch, [branch(ablated(2)), branch(*map(ablated, range(heads)), name="all")]
    )

    def emptied(first: int, last: int) -> Callable[[Tensor], Tensor]:
        def change(x: Tensor, index: Tensor) -> Tensor:
            x[:, first * size : last * size] = 0
            return x

        return at(batch.index, change)

    for run, span in (("changed", (2, 3)), ("all", (0, heads))):
        with hooked(layout.model, layout, "heads.1", emptied(*span)):
            close(found[run], tiny.forward(layout.model, batch), batch)
    assert not torch.equal(found["changed"], found["all"])


@pytest.mark.slow
@each_which
@each_site
@pytest.mark.parametrize(("into", "source"), [("twin", REFERENCE), (REFERENCE, "twin")])
def test_a_value_is_taken_from_another_run(into: str, source: str, name: str, which: Which) -> None:
    """The reference's activation in the twin, and the other way round, by hooks on the two whole
    models: what the one was heard to have is put into the other."""
    layout, batch = tiny.layout("llama"), marked_batch()
    twin = tiny.twin(layout, "rtn:bits=2")
    models = {REFERENCE: layout.model, "twin": twin.model()}
    patch = Intervention(site=name, change=taken, source=source, positions=which)
    found = read(layout, batch, [branch(patch, model=into)], {"twin": twin})
    module, given = module_of(models[source], layout, name)
    with tiny.listening({"there": module}) as heard:
        tiny.forward(models[source], batch)
    there = (heard["there"].input if given else heard["there"].tensor).flatten(0, -2)
    with hooked(
        models[into], layout, name, at(by_hand(which, batch), lambda x, index: there[index])
    ):
        all_close(found["changed"], models[into], layout, batch)
    # Both have the same embedding; what is put behind the last block at the end of a window
    # predicts nothing.
    unseen = name == "embed" or (name, which) == ("resid.2", "last")
    assert differ(found["changed"], found[into]) == (not unseen)


@pytest.mark.parametrize("kinds", [("resid",), ("attn", "mlp"), ("heads", "neurons", "resid")])
def test_every_site_of_the_reference_in_the_twin_is_the_reference(kinds: tuple[str, ...]) -> None:
    """Whatever the twin computes itself is replaced: bit for bit the reference, block by block,
    where positions count, and the twin as it is where they do not."""
    layout, batch = tiny.layout("llama"), marked_batch()
    twins = {"twin": tiny.twin(layout, "rtn:bits=2")}
    patches = [
        Intervention(site=f"{kind}.{n}", change=taken, source=REFERENCE)
        for n in range(layout.depth)
        for kind in kinds
    ]
    whole = ForwardRun("whole", "twin", interventions=tuple(patches))
    sites = ["logits", *(f"resid.{n}" for n in range(layout.depth))]
    runs = [whole, branch(*patches, model="twin")]
    found = tiny.activations(tiny.sweep(layout, [batch], sites, twins, runs))
    others = torch.ones(batch.tokens.numel(), dtype=torch.bool)
    others[batch.index] = False
    for run in ("whole", "changed"):
        assert torch.equal(found[(run, "logits", 0)], found[(REFERENCE, "logits", 0)])
        for name in [name for name in sites[1:] if (run, name, 0) in found]:
            mine, twin, reference = (
                found[(of, name, 0)].flatten(0, 1) for of in (run, "twin", REFERENCE)
            )
            assert torch.equal(mine[batch.index], reference[batch.index])
            if name == "resid.0":
                assert torch.equal(mine[others], twin[others])
    assert not torch.equal(found[("twin", "logits", 0)], found[(REFERENCE, "logits", 0)])


@each_which
@pytest.mark.parametrize("name", ["resid.0", "heads.1"])
def test_a_batch_is_its_documents_alone(name: str, which: Which) -> None:
    """What stands beside a document, and what fills it up, changes nothing of what is put in."""
    layout, twins = tiny.layout("llama"), {"twin": tiny.twin(tiny.layout("llama"), "rtn:bits=2")}
    change = Intervention(site=name, change=taken, source=REFERENCE, positions=which)
    run = branch(change, model="twin")
    batch = marked_batch()
    together = logits(layout, batch, [run], twins)["changed"]
    rows = batch.logits_index // batch.tokens.shape[1]
    for row in (0, 1):
        alone = logits(layout, marked_batch([row]), [run], twins)["changed"]
        assert torch.allclose(together[rows == row], alone, atol=1e-5)


@each_which
def test_positions_are_those_written_down(which: Which) -> None:
    """Of both documents together and of each alone."""
    for rows in ([0, 1], [0], [1]):
        batch = marked_batch(rows)
        assert torch.equal(intervened_positions(batch, which), by_hand(which, batch, rows))


def test_a_run_may_take_from_one_that_was_changed() -> None:
    """A branch of the twin takes what a branch of the reference has after its own intervention,
    inside a block and between two."""
    layout, batch = tiny.layout("llama"), marked_batch()
    twins = {"twin": tiny.twin(layout, "rtn:bits=2")}
    for name in ("mlp.1", "resid.1"):
        first = branch(Intervention(site=name, change=shrunk), name="first")
        second = branch(
            Intervention(site=name, change=taken, source="first"), model="twin", name="second"
        )
        found = logits(layout, batch, [first, second], twins)
        model = twins["twin"].model()
        module, _ = module_of(layout.model, layout, name)
        with tiny.listening({"there": module}) as heard:
            tiny.forward(layout.model, batch)
        there = shrunk(heard["there"].tensor, heard["there"].tensor).flatten(0, -2)
        with hooked(model, layout, name, at(batch.index, lambda x, i, of=there: of[i])):
            close(found["second"], tiny.forward(model, batch), batch)


def late(name: str = "late", source: str = "twin", **fields: Any) -> ForwardRun:
    patch = Intervention(site="mlp.1", change=taken, source=source)
    return ForwardRun(name, REFERENCE, parent=REFERENCE, interventions=(patch,), **fields)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([late(source="nobody")], "from nobody"),
        ([late(source="late")], "from late"),
        ([late(source="next"), ForwardRun("next", REFERENCE)], "runs after it"),
        ([ForwardRun("short", "twin", stop=1), late(source="short")], "from short"),
        ([ForwardRun("few", "twin", subset=True), late(source="few")], "on a subset"),
        ([late(start=2)], "runs from block 2 on"),
        ([late(stop=1)], "runs from block 0 on"),
        ([branch(Intervention(site="mlp.9", change=unchanged))], "intervention on mlp.9"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_runs_that_cannot_stand_side_by_side_are_refused(runs: list[ForwardRun], said: str) -> None:
    """Before anything runs, by name, with what would do."""
    layout = tiny.layout("llama")
    with pytest.raises(BitlensError, match=said):
        tiny.sweep(layout, [], [], {"twin": tiny.twin(layout, "rtn:bits=2")}, runs)


def test_what_there_is_nothing_to_put_in_is_refused() -> None:
    """Patterns and logits, a head too many, and marks where no document has any."""
    layout = tiny.layout("llama")
    for name in ("pattern.0", "logits"):
        with pytest.raises(BitlensError, match=f"intervention on {name}"):
            Intervention(site=name, change=unchanged)
    with pytest.raises(BitlensError, match="Head 4 of block 0, which has 4 heads"):
        head_columns(layout, 0, 4)
    run = branch(Intervention(site="mlp.1", change=unchanged, positions="marked"))
    with pytest.raises(BitlensError, match="documents without marks"):
        logits(layout, tiny.batch([5]), [run])
