"""One pass for several SAEs is as many passes; what was stopped goes on as if it had not been."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bitlens.errors import BitlensError
from bitlens.sae.fit import Fit
from bitlens.sae.sae import Sae, TrainedOn
from bitlens.sae.training.checkpoint import FILE, TrainingCheckpoint, write_checkpoint
from bitlens.sae.training.config import SaeTrainingConfig, steps_of
from bitlens.sae.training.trainer import InMemory, Job, Trained, batches, describe, train
from tests.support.planted_rows import TOPK, planted, trained

SHORT = replace(TOPK, steps=60)
GRID = (
    SHORT,
    replace(SHORT, seed=1),
    replace(SHORT, latents=24, k=3),
    replace(SHORT, architecture="standard", penalty=1.0, dead_after=500),
    replace(SHORT, architecture="jumprelu", penalty=0.05),
)


def same(first: Sae, second: Sae) -> bool:
    names = ("w_enc", "b_enc", "w_dec", "b_dec", "threshold")
    pairs = [(getattr(first, name), getattr(second, name)) for name in names]
    return all(a is b is None or torch.equal(a, b) for a, b in pairs)


class Chunked:
    """Rows a thousand at a time, of which some may never come."""

    def __init__(self, rows: Tensor, stop_at: int | None = None) -> None:
        self.parts, self.stop_at, self.read = rows.split(1000), stop_at, 0

    @property
    def sizes(self) -> Sequence[int]:
        return [len(part) for part in self.parts]

    def chunks(self, first: int) -> Iterator[Mapping[str, Tensor]]:
        for part in self.parts[first:]:
            if self.read == self.stop_at:
                raise KeyboardInterrupt
            self.read += 1
            yield {"": part}


@pytest.mark.slow
def test_a_grid_in_one_pass_is_as_many_passes() -> None:
    """The same weights, bit for bit, whoever is trained beside it."""
    together = trained(*GRID)
    for one, config in zip(together, GRID, strict=True):
        assert same(one.sae, trained(config)[0].sae)


@pytest.mark.slow
@pytest.mark.parametrize("config", [GRID[0], GRID[3], GRID[4]], ids=["topk", "standard", "jump"])
@pytest.mark.parametrize("patience", [0, 30])
def test_a_killed_training_goes_on_as_if_it_had_not_been(
    config: SaeTrainingConfig, patience: int, tmp_path: Path
) -> None:
    """Stopped in its second pass over the chunks: the weights of one that was not, and only chunks
    from the checkpoint on are read again."""
    x, held_out = planted()[1:]

    def run(source: Chunked, folder: Path | None) -> Trained:
        job = Job(config=config, label="one", hook="resid.0", trained_on=TrainedOn(), folder=folder)
        (found,) = train(source, {"": held_out}, [job], patience, quiet=True)
        return found

    # Three batches of 333 a chunk, thirty a pass.
    with pytest.raises(KeyboardInterrupt):
        run(Chunked(x, stop_at=15), tmp_path)
    again = Chunked(x)
    resumed, whole = run(again, tmp_path), run(Chunked(x), None)
    assert same(resumed.sae, whole.sae)
    assert resumed.looks == whole.looks
    assert again.read == 5


@pytest.mark.slow
@pytest.mark.parametrize("kept", [1, 5])
def test_who_looked_before_the_kill_does_not_look_twice(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between the checkpoints of two that learn side by side: the first looked at this
    step already, and the same look is no look without gain."""
    x, held_out = planted()[1:]

    def run(folder: Path | None) -> list[Trained]:
        jobs = []
        for n in (0, 1):
            config, own = replace(SHORT, seed=n), folder and folder / f"{n}"
            jobs.append(
                Job(config=config, label=f"{n}", hook="resid.0", trained_on=TrainedOn(), folder=own)
            )
        return train(InMemory({"": x}), {"": held_out}, jobs, patience=1, quiet=True)

    count = [0]

    def write(folder: Path, checkpoint: TrainingCheckpoint) -> None:
        write_checkpoint(folder, checkpoint)
        count[0] += 1
        if count[0] == kept:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bitlens.sae.training.trainer.write_checkpoint", write)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    for resumed, whole in zip(run(tmp_path), run(None), strict=True):
        assert resumed.looks == whole.looks
        assert resumed.steps == whole.steps
        assert same(resumed.sae, whole.sae)


def test_the_steps_of_the_chunks_learn_from_every_row_once() -> None:
    """A pass over 2,500 rows in chunks of a thousand, batches of 300 or a few more."""
    source = Chunked(torch.arange(2500.0)[:, None])
    steps = sum(steps_of(source.sizes, 300))
    seen = [
        chunk[""][rows[0]]
        for _, chunk, rows in batches(source, {0}, batch=300, start=0, stop=steps)
    ]
    assert steps == len(seen) == 3 + 3 + 1
    assert torch.equal(torch.cat(seen).flatten().sort().values, torch.arange(2500.0))


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    """Whatever made it stands in it; a damaged one is said to be."""
    x, held_out = planted()[1:]

    def run(made_by: dict[str, int]) -> None:
        job = Job(
            config=SHORT,
            label="one",
            hook="resid.0",
            trained_on=TrainedOn(),
            folder=tmp_path,
            made_by=made_by,
        )
        train(InMemory({"": x}), {"": held_out}, [job], quiet=True)

    run({"tokens": 1})
    with pytest.raises(BitlensError, match="other settings"):
        run({"tokens": 2})
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(BitlensError, match="cannot be read"):
        run({"tokens": 1})


@pytest.mark.slow
def test_training_ends_when_held_out_documents_have_had_enough() -> None:
    """Of a hundred rows learnt by heart the others are told worse and worse: with patience it ends
    early, and the best look's weights are the result."""
    x = planted()[1][:100]
    config = replace(TOPK, steps=400, batch=100, schedule="constant")
    (stopped,), (on,) = (trained(config, x=x, patience=p) for p in (2, 0))
    assert stopped.steps < on.steps == 400
    objectives = [look["objective"] for look in stopped.looks]
    assert len(objectives) - 1 - objectives.index(min(objectives, key=lambda o: o or 0)) == 2
    held = planted()[2]
    errors = [(held - s.decode(s.codes(held))).square().mean() for s in (stopped.sae, on.sae)]
    assert errors[0] < errors[1]


def test_looks_are_json_and_tell_what_is_going_on(tmp_path: Path) -> None:
    """Twenty over the steps, each with what a progress bar shows."""
    (found,) = trained(SHORT)
    assert [look["steps"] for look in found.looks] == list(range(3, 61, 3))
    first = json.loads(json.dumps(found.looks))[0]
    assert set(first) == {"steps", "objective", "fvu", "l0", "alive"}
    assert describe([Fit(9, 0.25, 4.0, 1.0)]) == "FVU 0.250, L0 4.0, alive 100%"
    two = [Fit(9, 0.25, 4.0, 1.0), Fit(9, 0.5, 3.0, 1.0)]
    assert describe(two) == "FVU 0.250-0.500, L0 3.0-4.0, alive 100%"
    assert describe([Fit(9, None, 0.0, 0.0)]) == "FVU none, L0 0.0, alive 0%"


def test_whoever_trains_many_may_look_less_often() -> None:
    """The same weights; two looks, the last of which is at the end."""
    _, rows, held = planted()
    job = Job(config=SHORT, label="one", hook="resid.0", trained_on=TrainedOn(model="none"))
    (found,) = train(InMemory({"": rows}), {"": held}, [job], quiet=True, looks=2)
    (usual,) = train(InMemory({"": rows}), {"": held}, [job], quiet=True)
    assert [look["steps"] for look in found.looks] == [30, 60]
    assert same(found.sae, usual.sae)
    assert found.looks[-1] == usual.looks[-1]


def test_what_does_not_stay_finite_is_said() -> None:
    """A rate beyond all measure is a mistake, not an SAE of NaN."""
    with pytest.raises(BitlensError, match="did not stay finite"):
        trained(replace(SHORT, architecture="seed-plain", rate=1e30))
