"""What a sweep takes, part by part."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from bitlens.engine.comparisons import Comparison, comparisons
from bitlens.engine.memory import bound_heap
from bitlens.engine.plan import CORPUS, Plan
from bitlens.engine.wave_size import mask_bytes
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.workflows.audit.budget import MemoryBudget, budget, hidden_bytes
from tests.support import tiny

NAMES = ("behaviour", "geometry", "attention", "lens")


def wanted(layout: Layout, twins: int, names: tuple[str, ...] = NAMES) -> list[Comparison]:
    analyses = [tiny.analysis(name) for name in names]
    reads = {a.name: a.reads(layout) for a in analyses}
    return comparisons(analyses, [f"twin {n}" for n in range(twins)], reads)


def plan(documents: int, interval: str = "jackknife") -> Plan:
    return tiny.plan(tiny.corpus([[12]] * documents), [], interval=interval)


def test_it_does_not_grow_with_the_text() -> None:
    """Twice the documents: only the tokens themselves take more, and the samples as long as
    there are fewer positions than they hold; a bootstrap's sums too are of shards."""
    layout = tiny.eager("llama")
    for interval in ("jackknife", "bootstrap"):
        some, more = (budget(layout, wanted(layout, 2), plan(n, interval)) for n in (1000, 2000))
        growing = {n for n in some.parts if more.parts[n] > some.parts[n]}
        assert growing <= {"tokens", "samples"}
        assert more.smallest == some.smallest


def test_the_least_holds_one_batch_and_its_room_is_what_is_left() -> None:
    """By hand: parts of 100 and 50 bytes and a batch of 7."""
    made = MemoryBudget({"weights": 100, "accumulators": 50}, 7)
    assert (made.taken, made.least) == (150, 157)
    assert made.room(1000) == 850
    assert made.room(10) == 0
    made.require(157, "tiny", "157B")
    # Weights that were read from disk lie in memory where a little more is allowed.
    assert MemoryBudget({"weights": 10, "accumulators": 140}, 7, on_disk=90).least == 157 + 90
    assert MemoryBudget({"weights": 100, "accumulators": 50}, 7, on_disk=900).least == 157
    with pytest.raises(BitlensError, match="156B is too little to audit tiny: weights 100 B"):
        made.require(156, "tiny", "156B")


def test_hidden_states_are_those_the_sweep_counts(tmp_path: Path) -> None:
    """Batch by batch, of the subset and not."""
    layout = tiny.eager("llama")
    made = plan(60)
    measured = tiny.measurement(
        layout,
        {"twin 0": "rtn:bits=3", "twin 1": "rtn:bits=4"},
        made,
        tmp_path,
        [tiny.analysis(name) for name in NAMES],
    )
    assert {b.subset for b in made.batches if b.documents == CORPUS} == {True, False}
    for batch in measured.sweep.batches:
        assert hidden_bytes(layout, measured.wanted, batch) == measured.sweep.hidden_bytes(batch)


@pytest.mark.parametrize("name", ["behaviour", "geometry", "attention"])
def test_tallies_are_as_large_as_they_are_said_to_be(name: str, tmp_path: Path) -> None:
    """Told from one position of noughts, sums of a depth hold what they come to hold in a run."""
    layout = tiny.eager("llama")
    made = plan(60)
    measured = tiny.measurement(
        layout, {"twin 0": "rtn:bits=3"}, made, tmp_path, [tiny.analysis(name)]
    )
    held = []
    complete = measured._complete

    def seen(accumulators):  # type: ignore[no-untyped-def]
        sums = (t for accumulator in accumulators.values() for t in accumulator.sums.values())
        held.append(sum(t.numel() * t.element_size() for t in sums))
        return complete(accumulators)

    measured._complete = seen  # type: ignore[method-assign]
    tiny.values(measured)
    said = budget(layout, measured.wanted, made).parts["accumulators"]
    assert max(held) <= said <= 4 * max(held) + 4096


def test_what_is_kept_of_single_positions_grows_with_them() -> None:
    """By hand: a key, a shard and two numbers, 24 bytes, three times over for each twin, and 48
    while one twin's are put in order; of each document its number, its shard and four sums, 48
    bytes, three times over."""
    layout = tiny.eager("llama")
    for twins in (1, 3):
        plans = [plan(n) for n in (900, 1800)]
        few, many = (budget(layout, wanted(layout, twins, ("behaviour",)), p) for p in plans)
        more = len(plans[1].sets[CORPUS].keys.predicting) - len(
            plans[0].sets[CORPUS].keys.predicting
        )
        grown = many.parts["samples"] - few.parts["samples"]
        documents = len(plans[1].sets[CORPUS].shard) - len(plans[0].sets[CORPUS].shard)
        assert documents == 900
        assert grown == more * (3 * twins * 24 + 48) + documents * 3 * twins * 48


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["llama", "gemma3_text"])
def test_masks_are_as_large_as_they_are_said_to_be(name: str, attention: str) -> None:
    """Those that the blocks of a padded batch are called with, of every kind."""
    layout = tiny.layout(name, attention=attention)
    batch = tiny.batch([60, 40, 33])
    entry = layout.shell.enter(batch.tokens, batch.mask)
    masks: dict[int, torch.Tensor] = {}

    def see(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.ndim == 4:
            masks[tensor.data_ptr()] = tensor
        return tensor

    for call in entry.calls:
        call.each(see)
    held = sum(mask.numel() * mask.element_size() for mask in masks.values())
    assert held
    assert held <= mask_bytes(layout, batch) <= 2 * held


def test_samples_are_those_of_one_depth() -> None:
    """Of twice the blocks no more lie in memory at a time: a run may be of one block alone."""
    parts = []
    for blocks in (2, 4):
        layout = Layout(tiny.build("llama", num_hidden_layers=blocks))
        made = budget(layout, wanted(layout, 2, ("geometry",)), plan(40))
        parts.append(made.parts["samples"])
    assert parts[0] == parts[1]


def test_analyses_that_look_nowhere_take_nothing() -> None:
    """Sites that the user named may be none of an analysis' own."""
    layout, analysis = tiny.eager("llama"), tiny.analysis("attention")
    reads = [replace(request, sites=()) for request in analysis.reads(layout)]
    nowhere = comparisons([analysis], ["twin 0"], {analysis.name: reads})
    made = budget(layout, [*nowhere, *wanted(layout, 1, ("geometry",))], plan(40))
    assert made.parts == budget(layout, wanted(layout, 1, ("geometry",)), plan(40)).parts


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_logits_of_a_large_vocabulary_take_what_they_are_said_to() -> None:
    """Measured in a process of its own, chunk after chunk: none of them adds to the ones before."""
    script = (
        "import tempfile, pathlib; from tests.workflows.audit import test_budget as t; "
        "t.say_peak(pathlib.Path(tempfile.mkdtemp()))"
    )
    child = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    peak, logits, said = (int(n) for n in child.stdout.split()[-3:])
    assert logits / 2 < peak < said


def say_peak(folder: Path) -> None:
    """Prints what a sweep adds to resident memory at its peak, what logits were to take of it, and
    what all were to that is not there before."""
    bound_heap()
    model = tiny.build("llama", vocab_size=100_000)
    layout = Layout(model)
    made = plan(40)
    measured = tiny.measurement(
        layout,
        {"twin 0": "rtn:bits=3", "twin 1": "rtn:bits=4"},
        made,
        folder,
        [tiny.analysis(name) for name in ("behaviour", "lens")],
    )
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")
    tiny.values(measured)
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    said = budget(layout, measured.wanted, made)
    added = said.least - said.parts["weights"]
    print(1024 * int(peak.split()[1]) - before, said.parts["logits"], added)
