"""What single heads write: a number worked by hand, plain hooks to agree with, and a lost head."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from bitlens.analyses.geometry import Geometry
from bitlens.analyses.written import sums_by_head
from bitlens.compression.compression import CompressedMatrix, DataFree
from bitlens.compression.twin import CompressedTwin
from bitlens.engine.activations import ActivationPair
from bitlens.engine.plan import CORPUS, SUBSET, Plan
from bitlens.models.layout import Layout
from bitlens.models.matrices import LinearMap
from bitlens.results.records import MetricResult
from tests.support import tiny
from tests.support.by_hand import found, number, pair, state

LENGTHS = [[10], [8], [9], [10], [7]] * 8


def written(reference: list, twin: list) -> ActivationPair:
    """`[positions, heads, coordinates]` of two runs."""
    return replace(
        pair(torch.tensor(reference), torch.tensor(twin)), site="written.0", item="local"
    )


def results(given: ActivationPair) -> dict[tuple[str, str, str], MetricResult]:
    return found(Geometry().compute(state(Geometry(), given), None, None))  # type: ignore[arg-type]


def test_two_heads_by_hand() -> None:
    """Head 0 writes (3, 4) and (0, 5), and in the twin (3, 1) and (0, 5): an error of 9 beside an
    energy of 50, sqrt(0.18) = 0.42426. Head 1 writes (1, 0) twice and in the twin nothing: all of
    it is lost. Of 52 parts of energy head 0 has 50."""
    given = written([[[3.0, 4], [1, 0]], [[0, 5], [1, 0]]], [[[3.0, 1], [0, 0]], [[0, 5], [0, 0]]])
    of = results(given)
    assert number(of["head_error", "", "head 0"]) == pytest.approx(0.4242641, rel=1e-6)
    assert number(of["head_error", "", "head 1"]) == 1
    assert number(of["head_share", "", "head 0"]) == pytest.approx(50 / 52)


def test_shares_are_told_once() -> None:
    """They are the reference's: beside errors of the twin as it runs they would say the same."""
    given = written([[[3.0, 4], [1, 0]]], [[[3.0, 1], [0, 0]]])
    assert {metric for metric, *_ in results(given)} == {"head_error", "head_share"}
    assert {metric for metric, *_ in results(replace(given, item="cumulative"))} == {"head_error"}


def test_a_head_that_writes_nothing_has_no_error_relative_to_it() -> None:
    """The reason is said, and the other head has its number."""
    of = results(written([[[0.0, 0], [1, 0]]], [[[1.0, 0], [1, 1]]]))
    assert of["head_error", "", "head 0"].values is None
    assert "writes nothing" in of["head_error", "", "head 0"].reason
    assert number(of["head_error", "", "head 1"]) == 1


def test_documents_and_order_add_up() -> None:
    """Parts of the positions, in any order, sum to the whole."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 12, 3, 4, generator=draw)
    shard = torch.tensor([0, 1, 2, 3] * 3)
    order = torch.randperm(12, generator=draw)

    def part(rows: Tensor) -> ActivationPair:
        return replace(pair(x[rows], y[rows], shard=shard[rows]), site="written.0")

    whole = sums_by_head(part(torch.arange(12))).sums
    parts = [sums_by_head(part(order[:8])).sums, sums_by_head(part(order[8:])).sums]
    for name, total in whole.items():
        assert torch.allclose(total, parts[0][name] + parts[1][name])


def measured(layout: Layout, twin: CompressedTwin | str, plan: Plan, folder: Path) -> dict:
    values = tiny.values(tiny.measurement(layout, {"twin": twin}, plan, folder, [Geometry()]))
    return {key[2:4]: v.value for key, v in values.items() if key[4] == "head_error"}


@torch.no_grad()
def by_hooks(layout: Layout, own: nn.Module, other: nn.Module, plan: Plan, subset: bool) -> Tensor:
    """`[blocks, heads]`: the error by plain hooks before the output projections of two whole
    models, every head's columns multiplied out to the width of the stream, in float64."""
    count = layout.config.num_attention_heads
    error = torch.zeros(layout.depth, count, dtype=torch.float64)
    energy = torch.zeros_like(error)
    for batch in plan.batches:
        if batch.documents != CORPUS or (subset and not batch.subset):
            continue
        at = plan.positions_of(batch, batch.index, SUBSET if subset else CORPUS)
        vectors = []
        for model in (own, other):
            names = [
                f"{layout.block_name(n)}.{b.heads}" for n, b in enumerate(layout.block_layouts)
            ]
            modules = {name: model.get_submodule(name) for name in names}
            with tiny.listening(modules) as heard:
                tiny.forward(model, batch)
            found = []
            for name, module in modules.items():
                z = heard[name].input
                z = z.reshape(-1, z.shape[-1])[batch.index].double().unflatten(-1, (count, -1))
                weight = module.weight.double()
                weight = weight.T if isinstance(module, nn.Linear) else weight
                found.append(torch.einsum("nhs,hsw->nhw", z, weight.unflatten(0, (count, -1))))
            vectors.append(torch.stack(found))
        assert len(at) == vectors[0].shape[1]
        error += (vectors[1] - vectors[0]).square().sum((1, 3))
        energy += vectors[0].square().sum((1, 3))
    return (error / energy).sqrt()


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text", "opt", "gpt_neox"])
@pytest.mark.parametrize("compression", ["rtn:bits=4", "int8"])
def test_agrees_with_plain_hooks(family: str, compression: str, tmp_path: Path) -> None:
    """As it runs, on padded batches, with shared keys and values, biases, norms behind the
    projection and inputs that are rounded before they are multiplied."""
    layout = tiny.layout(family)
    plan = tiny.plan(tiny.corpus(LENGTHS, seed=2), [Geometry()])
    twin = tiny.twin(layout, compression)
    of = measured(layout, twin, plan, tmp_path)
    expected = by_hooks(layout, layout.model, twin.model(), plan, subset=False)
    for block, head in [(b, h) for b in range(layout.depth) for h in range(expected.shape[1])]:
        place = (f"head {head}, cumulative", f"heads.{block}")
        assert of[place] == pytest.approx(float(expected[block, head]), rel=2e-4)


@dataclass(frozen=True)
class Silence(DataFree):
    """The planted lesion: one head's columns of the output projection become nought."""

    name: ClassVar[str] = "silence"
    head: int = 0
    size: int = 16

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        weight = matrix.weight.float().clone()
        weight[:, self.head * self.size : (self.head + 1) * self.size] = 0
        return CompressedMatrix(weight, 32.0)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_head_that_writes_nothing_is_named_and_none_behind_it(
    family: str, tmp_path: Path
) -> None:
    """Its pattern and its output before the projection are what they were, and all that it writes
    is lost; no other head has any error of its own, not even behind it."""
    layout = tiny.layout(family)
    plan = tiny.plan(tiny.corpus(LENGTHS, seed=2), [Geometry()])
    name = f"{layout.block_name(1)}.{layout.block_layouts[1].heads}"
    size = next(s[-1] for n, s in layout.matrices() if n == name) // 4
    of = measured(layout, Silence(include=(name,), head=2, size=size), plan, tmp_path)
    for (item, place), error in of.items():
        if (item, place) in (("head 2, local", "heads.1"), ("head 2, cumulative", "heads.1")):
            assert error == pytest.approx(1, abs=1e-6)
        elif item.endswith("local") or place != "heads.2":
            assert error == 0
        else:
            assert error > 0.001
