"""Single latents of SAEs as nodes: one that was built by hand to carry a task, and patching by
plain hooks on whole models."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.analyses.causal.attribution import attributions
from bitlens.analyses.causal.compared_nodes import ComparedNodes
from bitlens.analyses.causal.experiment import Experiment, PatchedOutcome
from bitlens.analyses.causal.findings import TwinFindings
from bitlens.analyses.causal.latents import Latent, largest
from bitlens.analyses.causal.nodes import cross_names, crossed, swap_name, swapped
from bitlens.data.circuit_tasks.prompts import TaskPrompts
from bitlens.engine.runs import REFERENCE
from bitlens.models.layout import Layout
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.sae import Sae
from tests.support import circuits as support
from tests.support import planted_dictionaries, tiny
from tests.support import planted_models as planted
from tests.support.saes import small_sae

CARRIER = 5
"""The token that every prompt ends with: where it was said before decides the answer."""


def places_before() -> Sae:
    """A latent a token: that it stands before this one."""
    directions = torch.eye(planted.SIZE * planted.HEADS)[list(planted.BEFORE)]
    return planted_dictionaries.sae_of(directions)


def always_after(token: int) -> TaskPrompts:
    """Induction in which every clean prompt ends with one token, and so does every corrupt one."""
    task = support.repeats()

    def named(row: tuple[int, ...], mine: int) -> tuple[int, ...]:
        other = {mine: token, token: mine}
        return tuple(other.get(n, n) for n in row)

    def pairs(of: tuple) -> tuple:  # type: ignore[type-arg]
        return tuple(
            replace(p, **{name: named(getattr(p, name), p.clean[-1]) for name in NAMED}) for p in of
        )

    return replace(task, choosing=pairs(task.choosing), scoring=pairs(task.scoring))


NAMED = ("clean", "corrupt", "right", "wrong")


@cache
def outcome() -> PatchedOutcome:
    """The copier beside a twin whose first planted head is blind."""
    layout = planted.copier()
    experiment = Experiment(
        layout=layout,
        twins={"blind": tiny.twin(layout, planted.blind(*planted.PREVIOUS))},
        crossed={"blind"},
        saes=[tiny.placed(places_before(), "resid.0")],
        room=support.ROOM,
        method="jackknife",
        seed=0,
    )
    return experiment.outcome([always_after(CARRIER)])


def compared() -> ComparedNodes:
    found = outcome()
    (latents,) = found.latents.values()
    return ComparedNodes(
        reference=found.effects("induction", REFERENCE, latents),
        twin=found.effects("induction", "blind", latents),
        attributions=None,
        crossed=True,
        called="latents of planted",
    )


def test_the_planted_latent_is_found() -> None:
    """Of 32 latents one says where the last token stood before: attribution names it, it carries
    the whole gap both ways, but for the norm, which meets a one more or less, and no other does
    anything."""
    said = outcome().attributions["induction"].latents["planted"]
    assert int(np.abs(said).argmax()) == CARRIER
    found = compared().reference
    for values in (found.denoising[0], found.noising[0]):
        by_latent = {n.number: v for n, v in zip(found.nodes, values, strict=True)}  # type: ignore[attr-defined]
        assert by_latent.pop(CARRIER) == pytest.approx(1, abs=0.02)
        assert max(map(abs, by_latent.values()), default=0) < 0.02


def test_the_reference_s_latent_repairs_the_twin() -> None:
    """What the blind head should have written is this latent: put into the twin it brings all back,
    and the twin's takes most away. It has no weights, so nothing is said to be made by them."""
    found = compared()
    place = [n.number for n in found.reference.nodes].index(CARRIER)  # type: ignore[attr-defined]
    assert found.shares_of_loss["repaired"][0, place] == pytest.approx(1, abs=0.05)
    assert found.shares_of_loss["carried"][0, place] > 0.7
    assert "made" not in found.shares_of_loss
    metrics = {(m.metric, m.item, m.site) for m in found.metrics()}
    assert ("repaired", f"induction, latent {CARRIER} of planted", "resid.0") in metrics
    assert not {name for name, *_ in metrics if name == "made"}


def test_a_row_a_latent() -> None:
    """The table that is shown has every latent with its SAE, its site and its effects."""
    found = outcome()
    twin = TwinFindings(
        nodes=compared(),
        latents={"planted": compared()},
        circuits=found.circuits,
        total=found.total,
    )
    rows = {row["latent"]: row for row in twin.latent_rows()}
    mine = rows[CARRIER]
    assert (mine["sae"], mine["site"], mine["task"]) == ("planted", "resid.0", "induction")
    assert mine["noising_reference"] == pytest.approx(1, abs=0.02)
    assert mine["repaired"] == pytest.approx(1, abs=0.05)
    assert "made" not in mine


def test_latents_that_say_nothing_are_not_put_in_place() -> None:
    """Of two tasks the largest of each is kept; a latent of which none says anything is not,
    however much room there is."""
    placed = tiny.placed(small_sae(latents=6))
    of = {"one": np.array([0, -8.0, 0, 0.2, 0, 0]), "other": np.array([0, 0, 1e-3, 0, 0, 0])}
    assert [latent.number for latent in largest(placed, of, 2)] == [1, 2]
    assert [latent.number for latent in largest(placed, of)] == [1, 2, 3]


def last_logits(layout: Layout, rows: Tensor, name: str, put: Tensor | None = None) -> tuple:  # type: ignore[type-arg]
    """Scores' logits of a whole forward, and what a module hands out; `put`: instead of that."""
    seen: list[Tensor] = []

    def hook(_module: object, _args: object, output: Tensor) -> Tensor:
        seen.append(output)
        return output if put is None else put

    handle = layout.model.get_submodule(name).register_forward_hook(hook)  # type: ignore[arg-type]
    with torch.no_grad():
        logits = layout.model(input_ids=rows, use_cache=False).logits
    handle.remove()
    return logits, seen[0]


@pytest.mark.parametrize("normalisation", ["none", "constant_norm_rescale"])
@pytest.mark.parametrize("block", [0, 1])
def test_patching_a_latent_is_what_plain_hooks_give(block: int, normalisation: str) -> None:
    """The partner's activation of one latent along its direction, in the states after a block, the
    last among them: the same scores as from a hook on the block in transformers' own forward."""
    layout = tiny.layout("llama")
    task = support.repeats(pairs=14, vocabulary=tiny.VOCABULARY)
    width = layout.model.config.hidden_size
    sae = small_sae(width=width, latents=24, normalisation=normalisation, b_dec=torch.zeros(width))
    placed = tiny.placed(sae, f"resid.{block}")
    rows = support.tokens(task.scoring)
    name = layout.block_name(block)
    _, states = last_logits(layout, rows, name)
    flat = states.flatten(0, 1)
    codes = sae.codes(flat)
    number = int(codes.dense().var(dim=0).argmax())
    latent = Latent.of(placed, number)
    own = codes.dense()[:, number].view(states.shape[:2])
    moved = (support.partner(own) - own)[..., None] * sae.w_dec[number]
    if codes.scale is not None:
        moved = moved * codes.scale.view(*states.shape[:2], 1)
    logits, _ = last_logits(layout, rows, name, states + moved)
    wanted = support.last_scores(logits, task.scoring).numpy()
    found = support.swept(layout, {}, swapped(REFERENCE, [latent]), task)
    mine = found[task.task, swap_name(REFERENCE, latent)]
    np.testing.assert_allclose(np.stack([mine.clean, mine.corrupt], axis=1), wanted, atol=2e-5)
    base = found[task.task, REFERENCE]
    assert not np.allclose(mine.clean, base.clean, atol=1e-4)


def test_a_twin_is_given_the_reference_s_latent() -> None:
    """Both ways: the latent of the other model at the same prompt."""
    layout = tiny.layout("llama")
    task = support.repeats(pairs=14, vocabulary=tiny.VOCABULARY)
    sae = small_sae(width=layout.model.config.hidden_size, latents=24)
    latent = Latent.of(tiny.placed(sae, "resid.1"), 3)
    erased = tuple(n for n, _ in layout.matrices() if ".0.mlp." in n)
    twins = {"twin": tiny.twin(layout, tiny.Erase(include=erased))}
    runs = crossed("twin", [latent])
    repaired, carried, _ = cross_names("twin", latent)
    assert [run.name for run in runs] == [repaired, carried]
    found = support.swept(layout, twins, runs, task)
    assert not np.allclose(found[task.task, repaired].clean, found[task.task, "twin"].clean)
    assert not np.allclose(found[task.task, carried].clean, found[task.task, REFERENCE].clean)


@pytest.mark.parametrize("normalisation", ["none", "constant_norm_rescale"])
def test_a_latent_s_attribution_is_a_slope(normalisation: str) -> None:
    """A latent's change along its direction, times the mean gradient: what autograd gives on whole
    models for that direction alone, as long as it is on the corrupt prompt."""
    layout = tiny.layout("llama", torch.float32)
    task = support.repeats(pairs=10, vocabulary=tiny.VOCABULARY)
    width = layout.model.config.hidden_size
    sae = small_sae(width=width, latents=24, normalisation=normalisation)
    placed: PlacedSae = tiny.placed(sae, "resid.0")
    said = attributions(layout, task, [], 4096, [placed])
    rows = support.tokens(task.choosing)
    name = layout.block_name(0)
    _, states = last_logits(layout, rows, name)
    found = sae.codes(states.flatten(0, 1))
    codes = found.dense().view(*states.shape[:2], -1)
    moved = codes[0::2] - codes[1::2]
    if found.scale is not None:
        moved = moved * found.scale.view(*states.shape[:2], 1)[1::2]
    model, embed = layout.model, layout.model.get_input_embeddings()
    ends = [embed(rows[n::2]).detach() for n in (0, 1)]
    total = torch.zeros(sae.latents)
    for step in range(5):
        along = torch.zeros(sae.latents, requires_grad=True)

        def hook(_module: object, _args: object, out: Tensor, along: Tensor = along) -> Tensor:
            return out + (moved * along) @ sae.w_dec

        handle = model.get_submodule(name).register_forward_hook(hook)
        start = ends[1] + (step + 0.5) / 5 * (ends[0] - ends[1])
        logits = model(inputs_embeds=start, use_cache=False).logits[:, -1]
        handle.remove()
        each = [logits[n, p.right[0]] - logits[n, p.wrong[0]] for n, p in enumerate(task.choosing)]
        torch.stack(each).mean().backward()
        assert along.grad is not None
        total += along.grad / 5
    np.testing.assert_allclose(said.latents["small"], total.numpy(), rtol=1e-3, atol=1e-6)
    fires = (codes > 0).flatten(0, 1).any(dim=0)
    assert said.fired["small"] == int(fires.sum())
