"""What is a block calibrated on? On what its compressed predecessors hand it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from bitlens.compression.calibration.cache import WeightCache
from bitlens.compression.calibration.pipeline import FEWEST, CalibrationJob, calibrate, work
from bitlens.compression.compression import CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.compression.numerics.input_statistics import InputStatistics, Statistic
from bitlens.compression.twin import CompressedTwin, Twin
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.matrices import LinearMap
from tests.support import tiny

DOCUMENTS = tiny.corpus([[20, 7], [20], [13], [20]], seed=2)
KNOWN: frozenset[Statistic] = frozenset({"second_moment", "mean_square", "max_abs", "mean_abs"})


@dataclass(frozen=True, kw_only=True)
class Listener(Compression):
    """Halves every weight and remembers what it was told of its inputs."""

    name: ClassVar[str] = "listener"
    sequential: bool = True  # type: ignore[assignment]
    fails_at: str = ""
    rounds: bool = False
    heard: dict[str, InputStatistics] = field(default_factory=dict, compare=False)
    company: list[list[str]] = field(default_factory=list, compare=False)

    @property
    def statistics(self) -> frozenset[Statistic]:
        return KNOWN

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        assert group.inputs is not None
        self.company.append([matrix.name for matrix in group.matrices])
        for matrix in group.matrices:
            if self.fails_at and self.fails_at in matrix.name:
                raise BitlensError(f"{matrix.name} will not.", "one that will.", "another.")
            self.heard[matrix.name] = group.inputs
        rounding = InputRounding("int8") if self.rounds else None
        return [
            CompressedMatrix(matrix.weight.float() / 2, 8.0, activations=rounding)
            for matrix in group.matrices
        ]


def made(layout: Layout, listener: Listener, folder: Path, **more: Any) -> Twin:
    names = [name for name, _ in layout.matrices()]
    kept = WeightCache(folder)
    wanted = {"it": CalibrationJob(listener, frozenset(names), kept, {"who": "a test"})}
    failed = calibrate(layout, wanted, DOCUMENTS, batch_tokens=40, seed=0, memory=1 << 30, **more)
    for error in failed.values():
        raise error
    return CompressedTwin(layout, listener, names, 0, kept)


@torch.no_grad()
def statistics(model: Any, module: str) -> dict[str, Tensor]:
    """Of what a module of a whole model is called with, document row by document row."""
    seen = []
    for row in DOCUMENTS.rows:
        with tiny.listening({"it": model.get_submodule(module)}) as heard:
            model(torch.from_numpy(row).long()[None], use_cache=False)
        seen.append(heard["it"].args[0].flatten(0, -2).double())
    x = torch.cat(seen)
    return {
        "second_moment": x.T @ x / len(x),
        "mean_square": x.square().mean(0),
        "max_abs": x.abs().amax(0),
        "mean_abs": x.abs().mean(0),
    }


def assert_heard(inputs: InputStatistics, expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        assert torch.allclose(getattr(inputs, name).double(), value, rtol=1e-4, atol=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "opt", "gemma2", "qwen3_moe"])
def test_each_group_meets_what_the_finished_twin_hands_it(family: str, tmp_path: Path) -> None:
    """True-sequential: the statistics of every matrix are those of the whole twin's own forward,
    heard by plain hooks, one document row at a time."""
    layout = tiny.layout(family)
    listener = Listener()
    model = made(layout, listener, tmp_path).model()
    for name, _ in layout.matrices():
        if "experts" not in name:
            assert_heard(listener.heard[name], statistics(model, name))
            assert listener.heard[name].count == DOCUMENTS.n_tokens


@pytest.mark.slow
def test_all_at_once_meets_the_block_before_it_is_compressed(tmp_path: Path) -> None:
    """Not sequential: predecessors are compressed, the block itself is not."""
    layout = tiny.layout("llama")
    listener = Listener(sequential=False)
    twin = made(layout, listener, tmp_path)
    half = twin.model()
    own = layout.model.get_submodule(layout.block_name(1)).state_dict()
    half.get_submodule(layout.block_name(1)).load_state_dict(own)
    for place in ("self_attn.o_proj", "mlp.down_proj"):
        name = f"{layout.block_name(1)}.{place}"
        assert_heard(listener.heard[name], statistics(half, name))


@pytest.mark.slow
def test_experts_are_calibrated_on_the_tokens_routed_to_them(tmp_path: Path) -> None:
    """Which tokens those are is read off the router's own choice; an expert with too few takes
    all of them, and its note says so."""
    layout = tiny.layout("qwen3_moe")
    listener = Listener()
    twin = made(layout, listener, tmp_path)
    model = twin.model()
    module = f"{layout.block_name(0)}.mlp.experts"
    vectors, chosen = [], []
    for row in DOCUMENTS.rows:
        with tiny.listening({"it": model.get_submodule(module)}) as heard, torch.no_grad():
            model(torch.from_numpy(row).long()[None], use_cache=False)
        vectors.append(heard["it"].args[0])
        chosen.append(heard["it"].args[1])
    x, experts = torch.cat(vectors).double(), torch.cat(chosen)
    inputs = listener.heard[f"{module}.gate_up_proj"]
    routed = [x[(experts == e).any(1)] for e in range(layout.config.num_experts)]
    everything = torch.cat(routed)
    few = [len(own) < min(FEWEST, x.shape[1]) for own in routed]
    assert any(few)
    for e, own in enumerate(routed):
        used = everything if few[e] else own
        assert inputs.count[e] == len(used)
        expected = used.T @ used / len(used)
        assert torch.allclose(inputs.second_moment[e].double(), expected, rtol=1e-4, atol=1e-6)
    (result,) = twin._source([LinearMap(f"{module}.gate_up_proj", torch.zeros(1))])  # type: ignore[attr-defined]
    first = few.index(True)
    assert f"expert {first} ({len(routed[first])})" in result.note


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "qwen3_moe"])
def test_fewer_tokens_than_columns_are_said(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both numbers, of the matrices it is true of; of experts, how many."""
    monkeypatch.setattr("bitlens.compression.calibration.pipeline.FEWEST", 0)
    layout = tiny.layout(family)
    listener = Listener()
    twin = made(layout, listener, tmp_path)
    twin.complete_coverage()
    notes = {row.module: row.note for row in twin.coverage()}
    said = []
    for name, shape in layout.matrices():
        width, counts = shape[-1], listener.heard[name].count.flatten()
        few = counts[counts < width]
        told = f"calibrated on {few.min() if len(few) else ''} tokens"
        fewer = f"fewer than the {width} input columns"
        if len(shape) == 3:
            told = f"{len(few)} of {len(counts)} experts {told} or more"
        assert (f"{told}, {fewer}" in notes[name]) is bool(len(few))
        said.append(len(few))
    assert any(said)


def test_maps_that_read_the_same_input_come_together(tmp_path: Path) -> None:
    """Query, key and value in one call, in the order data meets the groups."""
    layout = tiny.layout("llama")
    listener = Listener()
    made(layout, listener, tmp_path)
    tails = [[name.rsplit(".", 1)[-1] for name in names] for names in listener.company[:4]]
    assert tails == [["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"],
                     ["down_proj"]]  # fmt: skip


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    """Blocks that are kept are not made again, and the end is the same."""
    layout = tiny.layout("llama")
    whole, part = Listener(), Listener()
    made(layout, whole, tmp_path / "whole")
    last = layout.block_name(2)
    with pytest.raises(BitlensError):
        made(layout, Listener(fails_at=last), tmp_path / "part")
    assert not WeightCache(tmp_path / "part").complete
    twin = made(layout, part, tmp_path / "part")
    twin.complete_coverage()
    assert all(name.startswith(last) for name in part.heard)
    for name, inputs in part.heard.items():
        assert torch.equal(inputs.second_moment, whole.heard[name].second_moment)


def test_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    """Side by side, with memory for both or for one at a time."""
    layout = tiny.layout("llama")
    names = frozenset(name for name, _ in layout.matrices())
    for memory in (1, 1 << 30):
        wanted = {
            key: CalibrationJob(listener, names, WeightCache(tmp_path / f"{key}{memory}"), {})
            for key, listener in {"bad": Listener(fails_at="o_proj"), "good": Listener()}.items()
        }
        failed = calibrate(layout, wanted, DOCUMENTS, batch_tokens=40, seed=0, memory=memory)
        assert failed.keys() == {"bad"}
        assert "will not" in str(failed["bad"])
        assert wanted["good"].cache.complete
        assert not wanted["bad"].cache.complete


def test_progress_ends_where_it_was_said_to(tmp_path: Path) -> None:
    """Every block's tokens are counted once; what is kept already costs nothing."""
    layout = tiny.layout("llama")
    told: list[int] = []
    listener = Listener()
    names = frozenset(name for name, _ in layout.matrices())
    wanted = {"it": CalibrationJob(listener, names, WeightCache(tmp_path), {})}
    expected = work(layout, wanted, DOCUMENTS)
    made(layout, listener, tmp_path, progress=told.append)
    assert sum(told) == expected == layout.depth * DOCUMENTS.n_tokens
    assert work(layout, wanted, DOCUMENTS) == 0


@pytest.mark.slow
def test_the_unembedding_meets_the_final_norm(tmp_path: Path) -> None:
    """Where a pattern asks for it: the statistics are those of the model's own forward."""
    layout = Layout(tiny.build("llama", tie_word_embeddings=False))
    listener = Listener()
    names = [*(name for name, _ in layout.matrices()), "lm_head"]
    kept = WeightCache(tmp_path)
    wanted = {"it": CalibrationJob(listener, frozenset(names), kept, {})}
    assert not calibrate(layout, wanted, DOCUMENTS, batch_tokens=40, seed=0, memory=1 << 30)
    model = CompressedTwin(layout, listener, names, 0, kept).model()
    assert_heard(listener.heard["lm_head"], statistics(model, "lm_head"))
    assert torch.equal(model.lm_head.weight, layout.model.lm_head.weight / 2)


def test_rounded_activations_are_what_later_groups_meet(tmp_path: Path) -> None:
    """A method that rounds inputs is calibrated behind its own rounding, and a sweep of the twin
    gives the same states."""
    layout = tiny.layout("llama")
    exact, rounded = Listener(), Listener(rounds=True)
    made(layout, exact, tmp_path / "exact")
    twin = made(layout, rounded, tmp_path / "rounded")
    name = f"{layout.block_name(0)}.mlp.down_proj"
    assert not torch.equal(exact.heard[name].second_moment, rounded.heard[name].second_moment)
    block = twin.block(0, layout.block(0))
    assert len(block.roundings) == 7
