"""Transfer: numbers worked by hand, and the model itself with hooks to agree with."""

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bitlens.analyses.transfer import Transfer
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.engine.plan import SUBSET
from bitlens.engine.sweep import Sweep
from bitlens.results.records import MetricResult, Value
from bitlens.results.stats.replicates import leave_one_out
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.sae import Sae
from tests.support import tiny
from tests.support.by_hand import NOTHING

SITE = "resid.1"
Found = dict[tuple[str, str], Value]


def two_positions() -> Positions:
    """The first of two documents, one in each shard."""
    place = torch.zeros(2, dtype=torch.int64)
    return Positions(
        document=place,
        shard=torch.arange(2),
        shards=2,
        offset=place,
        target=place,
        key=torch.arange(2),
        token=place,
        length=place,
    )


def perfect(width: int) -> Sae:
    """Two latents a dimension, one for each sign: what it reads, it gives back."""
    eye = torch.eye(width)
    both = torch.cat([eye, -eye])
    return Sae(
        label="perfect",
        hook=SITE,
        architecture="standard",
        w_enc=both.T.contiguous(),
        b_enc=torch.zeros(2 * width),
        w_dec=both,
        b_dec=torch.zeros(width),
    )


def constant(width: int, mean: Tensor) -> Sae:
    """Says the mean whatever it reads."""
    nothing = torch.zeros(width, 1)
    return Sae(
        label="constant",
        hook=SITE,
        architecture="standard",
        w_enc=nothing,
        b_enc=torch.zeros(1),
        w_dec=nothing.T,
        b_dec=mean,
    )


def measured(saes: list[PlacedSae], folder: Path, compression: str = "rtn:bits=3") -> Found:
    analysis = Transfer(tuple(saes))
    plan = tiny.plan(tiny.spoken(tiny.speaker(), [24] * 8 + [9, 5]), [analysis], batch_tokens=100)
    twins = {"twin": compression}
    found = tiny.values(tiny.measurement(tiny.speaker(), twins, plan, folder, [analysis]))
    return {(metric, item): value for (_, _, item, _, metric), value in found.items()}


def test_by_hand() -> None:
    """Losses of 1, 2 and 5 nats clean, spliced and ablated: 3/4 recovered, 1 nat added, 4 at
    stake; in the twin 2, 4 and 6: 1/2, 2 and 4. A quarter less is saved, and a nat more lost."""
    placed = tiny.placed(perfect(4), SITE, mean_activation=torch.zeros(4))
    interventions = ("perfect", f"the mean at {SITE}")
    both = ("reference", "twin")
    names = [*both, *(f"{who} {intervention}" for who in both for intervention in interventions)]
    losses = dict(zip(names, [1.0, 2.0, 2.0, 5.0, 4.0, 6.0], strict=True))

    def activations(loss: float) -> Activations:
        p = np.exp(-loss)
        return Activations(torch.log(torch.tensor([[p, 1 - p]] * 2, dtype=torch.float32)))

    at = two_positions()
    read = {who: activations(loss) for who, loss in losses.items()}
    analysis = Transfer((placed,))
    branches = {
        who: analysis.reduce_branch(one, at, one) for who, one in read.items() if " " in who
    }
    pair = ActivationPair(
        site="logits",
        item="",
        reference=read["reference"],
        twin=read["twin"],
        positions=at,
        threshold=lambda size: size,
        branches=branches,
    )
    state = analysis.update(pair).under(leave_one_out(np.ones(2, dtype=bool)))
    found = {
        (o.metric, o.item): o.values
        for o in analysis.compute(state, NOTHING, NOTHING)
        if isinstance(o, MetricResult)
    }
    wanted = {
        ("loss_recovered", "perfect, reference"): 0.75,
        ("loss_recovered", "perfect, twin"): 0.5,
        ("loss_added", "perfect, reference"): 1,
        ("loss_added", "perfect, twin"): 2,
        ("loss_at_stake", "perfect, reference"): 4,
        ("loss_at_stake", "perfect, twin"): 4,
        ("recovered_difference", "perfect"): 0.25,
        ("added_difference", "perfect"): 1,
    }
    assert found.keys() == wanted.keys()
    for key, number in wanted.items():
        assert found[key] == pytest.approx(np.full(3, number), abs=1e-5), key


def test_a_perfect_sae_recovers_everything_and_the_mean_nothing(tmp_path: Path) -> None:
    """In both models, to rounding."""
    width = tiny.speaker().width
    mean = torch.randn(width, generator=torch.Generator().manual_seed(0))
    saes = (perfect(width), constant(width, mean))
    found = measured([tiny.placed(sae, SITE, mean_activation=mean) for sae in saes], tmp_path)
    for who in ("reference", "twin"):
        assert found[("loss_at_stake", f"perfect, {who}")].value > 0.1  # type: ignore[operator]
        assert found[("loss_recovered", f"perfect, {who}")].value == pytest.approx(1, abs=1e-4)
        assert found[("loss_recovered", f"constant, {who}")].value == pytest.approx(0, abs=1e-4)
        assert found[("loss_recovered", f"constant, {who}")].chance == 0


def test_however_many_saes_are_spliced_as_many_logits_are_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each branch's are let go before the next one's are computed; the reference's branches are
    computed once for all twins."""
    most, computed, logits = {}, {}, Sweep.logits
    for count in (1, 4):
        alive: list[weakref.ref[Tensor]] = []
        held: list[int] = []

        def seen(sweep: Sweep, run: str, states: Tensor) -> Tensor:
            found = logits(sweep, run, states)
            alive.append(weakref.ref(found))  # noqa: B023
            held.append(sum(one() is not None for one in alive))  # noqa: B023
            return found

        monkeypatch.setattr(Sweep, "logits", seen)
        layout = tiny.speaker()
        saes = [tiny.sae(seed=n, label=f"sae {n}") for n in range(count)]
        analysis = Transfer(tuple(tiny.placed(sae, SITE) for sae in saes))
        plan = tiny.plan(tiny.spoken(layout, [24] * 4), [analysis], batch_tokens=100)
        twins = {"3": "rtn:bits=3", "4": "rtn:bits=4"}
        tiny.values(tiny.measurement(layout, twins, plan, tmp_path / str(count), [analysis]))
        most[count], computed[count] = max(held), len(held)
    assert most[4] == most[1] <= 4
    # Of the reference and of each twin: clean, with the mean, and with every SAE.
    assert computed[4] / computed[1] == (2 + 4) / (2 + 1)


@pytest.mark.parametrize("who", ["reference", "twin"])
def test_it_is_what_hooks_on_the_whole_model_give(who: str, tmp_path: Path) -> None:
    """Each document alone through the model itself, its block's output replaced where it counts:
    the same losses, clean, spliced and ablated; the twin by an SAE of its own."""
    layout = tiny.speaker()
    mean = 0.1 * torch.randn(layout.width, generator=torch.Generator().manual_seed(0))
    sae, own = tiny.sae(), tiny.sae(seed=1)
    found = measured([tiny.placed(sae, SITE, mean_activation=mean, adapted=own)], tmp_path)
    model = layout.model if who == "reference" else tiny.twin(layout, "rtn:bits=3").model()
    block = model.get_submodule(layout.block_name(1))
    read = sae if who == "reference" else own
    rows = tiny.spoken(layout, [24] * 8 + [9, 5]).rows
    interventions = {
        "mean": lambda x: mean.expand_as(x),
        "sae": lambda x: read.decode(read.codes(x)),
    }

    def loss(intervention: str) -> float:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            states = (output[0] if isinstance(output, tuple) else output).clone()
            # The first position does not count.
            states[0, 1:] = interventions[intervention](states[0, 1:])
            return (states, *output[1:]) if isinstance(output, tuple) else states

        handle = block.register_forward_hook(hook) if intervention in interventions else None
        losses = []
        for row in rows:
            tokens = torch.from_numpy(row).long()[None]
            with torch.no_grad():
                logits = model(tokens, use_cache=False).logits[0].float()
            inside = nn.functional.cross_entropy(logits[:-1], tokens[0, 1:], reduction="none")
            losses.append(inside[1:])
        if handle is not None:
            handle.remove()
        return float(torch.cat(losses).mean())

    clean, spliced, ablated = loss(""), loss("sae"), loss("mean")
    item = f"random, {who}"
    assert found[("loss_added", item)].value == pytest.approx(spliced - clean, abs=1e-4)
    assert found[("loss_at_stake", item)].value == pytest.approx(ablated - clean, abs=1e-4)
    share = (ablated - spliced) / (ablated - clean)
    assert found[("loss_recovered", item)].value == pytest.approx(share, abs=1e-3)


def test_what_costs_nothing_can_recover_nothing() -> None:
    """Where ablation does no harm there is a reason and no number."""
    placed = tiny.placed(perfect(4), SITE, mean_activation=torch.zeros(4))
    logits = torch.zeros(2, 3)
    at = two_positions()
    analysis = Transfer((placed,))
    branches = {
        f"{who} {name}": analysis.reduce_branch(Activations(logits), at, Activations(logits))
        for who in ("reference", "twin")
        for name in ("perfect", f"the mean at {SITE}")
    }
    pair = ActivationPair(
        site="logits",
        item="",
        reference=Activations(logits),
        twin=Activations(logits),
        positions=at,
        threshold=lambda size: size,
        branches=branches,
    )
    state = analysis.update(pair).under(leave_one_out(np.ones(2, dtype=bool)))
    found = analysis.compute(state, NOTHING, NOTHING)
    none = [o for o in found if isinstance(o, MetricResult) and o.values is None]
    assert {o.metric for o in none} == {"loss_recovered", "recovered_difference"}
    assert all(o.reason and "costs nothing" in o.reason for o in none)


def test_two_saes_of_a_site_share_its_mean(tmp_path: Path) -> None:
    """The mean is put in once; every number rests on the documents that branches run on."""
    saes = [tiny.sae(), replace(tiny.sae(seed=1), label="other")]
    analysis = Transfer(tuple(tiny.placed(sae, SITE) for sae in saes))
    (request,) = analysis.reads(tiny.speaker())
    assert sum(branch.model == "twin" for branch in request.branches) == 3
    plan = tiny.plan(tiny.corpus([[9]] * 40), [analysis])
    found = tiny.values(
        tiny.measurement(tiny.speaker(), {"twin": "rtn:bits=3"}, plan, tmp_path, [analysis])
    )
    assert plan.sets[SUBSET].documents == 32
    assert {value.documents for value in found.values()} == {32}
