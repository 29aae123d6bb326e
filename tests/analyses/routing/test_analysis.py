"""Whole models: what is planted is found, and forced routing tells routing from weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bitlens.analyses.routing.outputs import NO_TOKEN, output_results
from bitlens.engine.accumulators import Accumulator
from bitlens.engine.comparisons import comparisons
from bitlens.engine.measurement import Measurement
from bitlens.engine.swept_model import Reference
from bitlens.models.block_runner import Block
from bitlens.models.layout import BlockWeights, Layout
from bitlens.results.records import Value
from tests.support import tiny

DOCUMENTS = [[20], [16], [20], [12], [18], [20]]
EXPERT, ROUTER = "model.layers.1.mlp.experts.down_proj", "model.layers.1.mlp.gate.weight"


class Changed(Reference):
    """A twin that is the reference but for some of its parameters."""

    def __init__(self, layout: Layout, changes: dict[str, torch.Tensor]) -> None:
        super().__init__(layout)
        self.changes = changes

    def block(self, depth: int, weights: BlockWeights) -> Block:
        block = super().block(depth, weights)
        prefix = f"{self.layout.block_name(depth)}."
        own = {n.removeprefix(prefix): t for n, t in self.changes.items() if n.startswith(prefix)}
        return Block(block.code, block.names, block.weights | own)


def measure(twin: Reference, folder: Path) -> dict[tuple[str, str, str], Value]:
    """By metric, site and item."""
    analyses = [tiny.analysis("routing")]
    plan = tiny.plan(tiny.corpus(DOCUMENTS), analyses)
    reads = {a.name: a.reads(twin.layout) for a in analyses}
    measured = Measurement(
        layout=twin.layout,
        twins={"twin": twin},
        wanted=comparisons(analyses, ["twin"], reads),
        plan=plan,
        hidden_bytes=1 << 30,
        partial=folder,
        texts=tiny.Words(),
    )
    found = tiny.values(measured)
    return {(metric, site, item): value for (_, _, item, site, metric), value in found.items()}


@pytest.fixture
def layout() -> Layout:
    return tiny.layout("qwen3_moe")


def stored(layout: Layout, name: str) -> torch.Tensor:
    return layout.model.get_parameter(name).detach().clone()


def test_a_zeroed_expert_is_off_by_all_of_itself(layout: Layout, tmp_path: Path) -> None:
    """And nothing else on equal input: no other expert, no router. Routing it right again repairs
    next to nothing."""
    weight = stored(layout, EXPERT)
    weight[2] = 0
    found = measure(Changed(layout, {EXPERT: weight}), tmp_path)
    errors = {key[1:]: v.value for key, v in found.items() if key[0] == "expert_error"}
    assert errors.pop(("experts.1", "expert 2, local")) == 1.0
    assert set(errors.values()) == {0.0}
    for block in range(3):
        assert found[("agreement", f"router.{block}", "local")].value == 1.0
    assert found[("agreement", "router.1", "cumulative")].value == 1.0
    assert found[("agreement", "router.2", "cumulative")].value != 1.0
    damage, weights = (
        found[(name, "logits", "cumulative")].value for name in ("damage", "damage_weights")
    )
    assert damage is not None
    assert weights is not None
    assert weights > 0.3 * damage > 0


def test_a_router_of_three_bits_is_found_and_repaired(layout: Layout, tmp_path: Path) -> None:
    """Its own choices on equal input are others, those of other blocks' routers are not, no
    expert is off, and under the reference's routing the damage is gone to the last digit."""
    weight = stored(layout, ROUTER)
    scale = weight.abs().amax(1, keepdim=True) / 3
    found = measure(Changed(layout, {ROUTER: (weight / scale).round() * scale}), tmp_path)
    own = [found[("agreement", f"router.{b}", "local")].value for b in range(3)]
    assert own[0] == own[2] == 1.0
    assert own[1] is not None
    assert own[1] < 1.0
    assert {v.value for key, v in found.items() if key[0] == "expert_error"} == {0.0}
    at = {n: found[(n, "logits", "cumulative")].value for n in ("damage", "damage_weights")}
    assert at["damage"] is not None
    assert at["damage"] > 0
    assert at["damage_weights"] == 0.0
    assert found[("repaired", "logits", "cumulative")].value == 1.0
    # The reference under its routing is then the twin itself, but for what routers read.
    routing = found[("damage_routing", "logits", "cumulative")].value
    assert routing == pytest.approx(at["damage"], rel=1e-4)


def test_agreement_is_that_of_both_models_of_transformers(layout: Layout, tmp_path: Path) -> None:
    """An independent count, from router logits that transformers hands out: the twin's weights in
    a model of its own, documents one by one."""
    twin = tiny.build("qwen3_moe")
    with torch.no_grad():
        for parameter in twin.get_submodule("model.layers.0.self_attn").parameters():
            parameter.mul_(1.3)
    changes = {n: p.detach() for n, p in twin.named_parameters()}
    found = measure(Changed(layout, changes), tmp_path)
    common, exact, tokens = [0.0] * 3, [0.0] * 3, 0
    for row in tiny.corpus(DOCUMENTS).rows:
        ids = torch.from_numpy(row.astype(np.int64))[None]
        with torch.no_grad():
            sets = [
                [
                    logits[1:].topk(2).indices.sort(-1).values
                    for logits in model(ids, output_router_logits=True).router_logits
                ]
                for model in (layout.model, twin)
            ]
        for block, (a, b) in enumerate(zip(*sets, strict=True)):
            common[block] += float((a[:, :, None] == b[:, None]).sum()) / 2
            exact[block] += float((a == b).all(-1).sum())
        tokens += ids.shape[1] - 1
    for block in range(3):
        place = (f"router.{block}", "cumulative")
        assert found[("agreement", *place)].value == pytest.approx(common[block] / tokens)
        assert found[("exact", *place)].value == pytest.approx(exact[block] / tokens)


def test_an_expert_that_meets_no_token_has_a_reason() -> None:
    """Never a number out of nothing."""
    sums = {
        "error_of_each": torch.tensor([[4.0, 0.0]]),
        "energy_of_each": torch.tensor([[16.0, 0.0]]),
        "error_of_all": torch.tensor([4.0]),
        "energy_of_all": torch.tensor([16.0]),
    }
    whole, first, second = output_results(Accumulator(sums=sums).under(np.ones((1, 1))))
    assert whole.values.tolist() == first.values.tolist() == [0.5]  # type: ignore[union-attr]
    assert second.reason == NO_TOKEN  # type: ignore[union-attr]


def test_a_model_without_routers_is_asked_nothing() -> None:
    """There is no site to read."""
    assert tiny.analysis("routing").reads(tiny.layout("llama")) == []
