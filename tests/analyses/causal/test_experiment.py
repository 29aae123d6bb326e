"""Circuits of a model that was built by hand, and patching by plain hooks on whole models."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from bitlens.analyses.causal.circuits import chosen, compared
from bitlens.analyses.causal.compared_nodes import CLOSED, ComparedNodes
from bitlens.analyses.causal.effects import ModelEffects
from bitlens.analyses.causal.experiment import Experiment, PatchedOutcome
from bitlens.analyses.causal.findings import UNMOVED, TwinFindings
from bitlens.analyses.causal.measures import sizes_of
from bitlens.analyses.causal.nodes import (
    NOTHING,
    Node,
    circuit,
    circuit_name,
    cross_names,
    crossed,
    nodes_of,
    swap_name,
    swapped,
)
from bitlens.data.circuit_tasks.prompts import TaskPrompts
from bitlens.engine.runs import REFERENCE
from tests.support import circuits as support
from tests.support import planted_models as planted
from tests.support import tiny

PLANTED = {f"{block}.{head}" for block, head in (planted.PREVIOUS, planted.INDUCTION)}


@cache
def outcome() -> PatchedOutcome:
    """The copier beside itself, and beside twins one of whose two heads is blind."""
    layout = planted.copier()
    twins = {
        "same": tiny.twin(layout, None),
        "blind": tiny.twin(layout, planted.blind(*planted.PREVIOUS)),
        "gone": tiny.twin(layout, planted.blind(*planted.INDUCTION)),
    }
    experiment = Experiment(
        layout=layout,
        twins=twins,
        crossed={"blind"},
        room=support.ROOM,
        method="jackknife",
        seed=0,
    )
    guess = support.repeats("no task")
    swapped_answers = tuple(replace(p, right=p.wrong, wrong=p.right) for p in guess.scoring)
    absent = TaskPrompts(task="no task", choosing=guess.choosing, scoring=swapped_answers)
    return experiment.outcome([support.repeats(), absent])


def findings(twin: str) -> TwinFindings:
    found = outcome()
    nodes = ComparedNodes(
        reference=found.effects("induction", REFERENCE),
        twin=found.effects("induction", twin),
        attributions=found.attributions["induction"].nodes,
        crossed=twin == "blind",
    )
    return TwinFindings(nodes=nodes, circuits=found.circuits, total=found.total)


def by_node(values: np.ndarray) -> dict[str, float]:
    return {n.name: float(v) for n, v in zip(outcome().nodes, values, strict=True)}


def test_the_planted_circuit_is_found() -> None:
    """Two heads carry everything, each by itself, and nothing else does anything; they are the
    circuit, and it alone gives the whole gap."""
    effects: ModelEffects = outcome().effects("induction", REFERENCE)
    for values in (effects.denoising[0], effects.noising[0]):
        found = by_node(values)
        assert {name for name, value in found.items() if abs(value) > 1e-3} == PLANTED
        assert all(found[name] == pytest.approx(1, abs=1e-3) for name in PLANTED)
    found_one = outcome().circuits["induction"]
    assert {node.name for node in found_one.nodes} == PLANTED
    assert findings("same").curves["reference"][1, 0] == pytest.approx(1, abs=1e-3)


def test_a_planted_lesion_is_named() -> None:
    """The blind head loses everything by its own weights, and no other node loses anything so; its
    value, and that of the head that reads it, repair the twin."""
    found = findings("blind").nodes
    assert not found.not_lost
    made = by_node(found.shares_of_loss["made"][0])
    assert made.pop("0.1") == pytest.approx(1, abs=1e-3)
    assert max(map(abs, made.values())) < 1e-3
    repaired = by_node(found.shares_of_loss["repaired"][0])
    assert {name for name, value in repaired.items() if value > 0.9} == PLANTED


def test_a_twin_without_the_task_has_a_reason_for_what_is_a_share_of_its_gap() -> None:
    """Without the head that says it the gap is nought, and nothing is divided by it."""
    assert findings("gone").twin.closed
    metrics = list(findings("gone").metrics())
    reasons = {m.metric for m in metrics if m.values is None and m.reason == CLOSED}
    assert {"agreement", "below_ceiling", "top_kept", "faithfulness", "cpr_change"} <= reasons
    kept = next(m for m in metrics if m.metric == "gap_kept")
    assert kept.values is not None
    assert kept.values[0] == pytest.approx(0, abs=1e-3)


def test_an_unchanged_twin_is_intact() -> None:
    """Every number of a model beside itself is its intact value, and no node is lost."""
    found = findings("same")
    values = {(m.metric, m.item): m.values for m in found.metrics() if m.values is not None}
    assert (values["gap_kept", "induction"] == 1).all()
    assert (values["faithfulness_change", "induction, own"] == 0).all()
    for way in ("denoising", "noising"):
        assert values["agreement", f"induction, {way}"] == pytest.approx(1)
        assert (values["top_kept", f"induction, {way}"] == 1).all()
        assert values["below_ceiling", f"induction, {way}"] == pytest.approx(0)
    assert not found.lost.any()
    assert found.nodes.not_lost


def test_of_fewer_nodes_than_the_top_has_nothing_is_kept_by_chance() -> None:
    """Of two nodes both are those of largest effect, in any model: a reason instead of a number."""
    found = findings("same").nodes
    few = outcome().nodes[:2]
    cut = replace(
        found,
        reference=replace(found.reference, nodes=few),
        twin=replace(found.twin, nodes=few),
        attributions=None,
    )
    told = [m for m in cut.metrics() if m.metric in {"top_kept", "top_ceiling"}]
    assert len(told) == 4
    assert all(m.values is None and "there are 2 nodes" in (m.reason or "") for m in told)


def test_without_any_node_a_circuit_is_not_the_corrupt_prompt() -> None:
    """With values put in place only where the prompts differ, the head behind those places still
    sees them: no node's corrupt value lowers anything, and faithfulness has a reason. Everywhere,
    the run without any node is the corrupt prompt."""
    layout = planted.copier()
    task = support.repeats(at="marked")
    made = Experiment(
        layout=layout,
        twins={},
        crossed=(),
        room=support.ROOM,
        method="jackknife",
        seed=0,
    ).outcome([task])
    effects = made.effects(task.task, REFERENCE)
    assert effects.unmoved
    assert effects.none.clean[0] == pytest.approx(effects.base.clean[0], abs=1e-3)
    found = findings("same")
    nodes = replace(found.nodes, reference=effects, twin=effects, attributions=None)
    told = replace(found, nodes=nodes).metrics()
    faithful = [m for m in told if m.metric.startswith(("faithfulness", "cpr", "cmd"))]
    assert all(m.values is None and m.reason == UNMOVED for m in faithful)
    everywhere = outcome().effects("induction", REFERENCE)
    assert not everywhere.unmoved
    assert everywhere.none.clean == pytest.approx(everywhere.base.corrupt, abs=1e-3)


def test_the_control_is_the_task_that_shares_fewest_nodes() -> None:
    """A task of the same mechanism, named first, would be the same circuit again."""
    own = outcome().circuits["induction"]
    same, other = replace(own, task="same"), replace(own, task="other")
    other = replace(other, order=list(reversed(own.order)))
    found = compared("induction", {"same": same, "induction": own, "other": other})
    assert found["of other"] == other.named(own.size)
    assert len(found) == 3


def test_a_circuit_that_is_not_enough_says_so() -> None:
    """With the answer's head last of all, none of those that are tried gives anything."""
    assert outcome().circuits["induction"].enough
    chosen_from = outcome().circuits["induction"]
    backwards = list(reversed(chosen_from.order))
    scores = {
        ("induction", name): of
        for (task, name), of in outcome().scores.items()
        if task == "induction"
    }
    # Every circuit of the others alone: as the run without any node.
    nothing = scores["induction", circuit_name(REFERENCE, NOTHING)]
    for size in sizes_of(len(backwards)):
        scores["induction", circuit_name(REFERENCE, chosen_from.named(size))] = nothing
    found = chosen("induction", backwards, scores)
    assert not found.enough
    assert found.size == sizes_of(len(backwards))[-1]


def test_of_many_nodes_a_first_cut_is_put_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for four of ten nodes the two planted heads are among them, and the circuit is what
    it is without a cut; other nodes have no effect, but are outside of it all the same."""
    monkeypatch.setattr("bitlens.analyses.causal.experiment.MOST", 4)
    experiment = Experiment(
        layout=planted.copier(),
        twins={},
        crossed=(),
        room=support.ROOM,
        method="jackknife",
        seed=0,
    )
    found = experiment.outcome([support.repeats()])
    assert len(found.nodes) == 4
    assert found.total == 10
    assert {node.name for node in found.circuits["induction"].nodes} == PLANTED


def test_a_task_that_the_reference_does_not_do_is_not_measured() -> None:
    """With right and wrong exchanged its score is surely below 0: it has a reason, no circuit."""
    assert "not surely above 0" in outcome().absent["no task"]
    assert "no task" not in outcome().circuits


def test_patching_is_what_plain_hooks_on_whole_models_give() -> None:
    """A head and an MLP of the other prompt, of the other model both ways, and a circuit alone: the
    same scores as from hooks on transformers' own forward, at all positions."""
    layout = tiny.layout("llama")
    erased = tuple(n for n, _ in layout.matrices() if ".1.mlp." in n)
    twin_model = deepcopy(layout.model)
    for name in erased:
        twin_model.get_submodule(name).weight.data.zero_()
    task = support.repeats(pairs=16, vocabulary=tiny.VOCABULARY)
    nodes = nodes_of(layout)
    head, mlp = (next(n for n in nodes if n.name == name) for name in ("1.1", "mlp 1"))
    inside = [head, mlp]
    runs = [
        *swapped(REFERENCE, inside),
        *crossed("twin", inside),
        circuit(REFERENCE, "two", inside, nodes),
    ]
    twin = tiny.twin(layout, tiny.Erase(include=erased))
    found = support.swept(layout, {"twin": twin}, runs, task)
    rows = support.tokens(task.scoring)
    reference = support.values(layout.model, layout, nodes, rows)
    other = support.values(twin_model, layout, nodes, rows)

    def expected(model: torch.nn.Module, values: Mapping[Node, torch.Tensor]) -> np.ndarray:
        with support.put(model, layout, values), torch.no_grad():
            logits = model(input_ids=rows, use_cache=False).logits
        return support.last_scores(logits, task.scoring).numpy()

    wanted = {REFERENCE: expected(layout.model, {}), "twin": expected(twin_model, {})}
    for node in inside:
        repaired, carried, _ = cross_names("twin", node)
        away = support.partner(reference[node])
        wanted[swap_name(REFERENCE, node)] = expected(layout.model, {node: away})
        wanted[repaired] = expected(twin_model, {node: reference[node]})
        wanted[carried] = expected(layout.model, {node: other[node]})
    outside = {n: support.partner(v) for n, v in reference.items() if n not in inside}
    wanted[circuit_name(REFERENCE, "two")] = expected(layout.model, outside)
    for run, scores in wanted.items():
        mine = np.stack([found[task.task, run].clean, found[task.task, run].corrupt], axis=1)
        np.testing.assert_allclose(mine, scores, atol=2e-5, err_msg=run)


def test_only_marked_or_last_positions_are_put_in_place() -> None:
    """What stands elsewhere stays: putting in the last position alone is another number than
    everywhere, and marked positions are where the two prompts differ."""
    layout = tiny.layout("llama")
    node = next(n for n in nodes_of(layout) if n.name == "mlp 0")
    found = {}
    for at in ("all", "marked", "last"):
        task = support.repeats(pairs=12, vocabulary=tiny.VOCABULARY, at=at)
        scores = support.swept(layout, {}, swapped(REFERENCE, [node]), task)
        found[at] = scores[task.task, swap_name(REFERENCE, node)].clean
        base = scores[task.task, REFERENCE].clean
    # The prompts end with the same token, on which the first MLP depends alone but for attention.
    assert not np.allclose(found["all"], found["last"])
    assert not np.allclose(found["all"], base)
    assert not np.allclose(found["marked"], found["last"])
