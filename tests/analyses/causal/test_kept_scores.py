"""A sweep of pairs that is killed goes on after its last wave."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitlens.analyses.causal import kept_scores
from bitlens.analyses.causal.kept_scores import KeptScores
from bitlens.analyses.causal.nodes import nodes_of, swapped
from bitlens.analyses.causal.scores import PairSweep, Room
from bitlens.data.circuit_tasks.prompts import At
from bitlens.engine.runs import REFERENCE, ForwardRun
from tests.support import circuits as support
from tests.support import tiny

BATCH = 104
"""Tokens: four pairs of 13 tokens a prompt."""


def sweep(folder: Path | None, at: At = "all") -> PairSweep:
    """With room for one batch in a wave."""
    layout = tiny.layout("llama")
    task = support.repeats(pairs=20, vocabulary=tiny.VOCABULARY, at=at)
    runs = [ForwardRun(REFERENCE, REFERENCE), *swapped(REFERENCE, nodes_of(layout)[:2])]
    room = Room(batch_tokens=BATCH, hidden_bytes=1, partial=folder)
    return PairSweep(layout, {}, runs, [task], choosing=False, room=room)


class Killed(Exception):
    """In place of a signal."""


def test_what_waves_before_have_is_not_computed_again(tmp_path: Path) -> None:
    """Killed in its third wave of three, it reads one batch the next time, and gives what a sweep
    that nobody stops gives; prompts that are patched elsewhere begin anew."""
    one = sweep(tmp_path)
    assert len(one.sweep.waves) == 3
    whole: list[int] = []
    expected = sweep(None).scores(whole.append)
    passed: list[int] = []

    def until_the_third(tokens: int) -> None:
        passed.append(tokens)
        if sum(passed) > 0.8 * sum(whole):
            raise Killed

    with pytest.raises(Killed):
        one.scores(until_the_third)
    again: list[int] = []
    found = sweep(tmp_path).scores(again.append)
    assert sum(again) == pytest.approx(sum(whole) / 3)
    for key, scores in expected.items():
        np.testing.assert_array_equal(found[key].clean, scores.clean)
        np.testing.assert_array_equal(found[key].corrupt, scores.corrupt)
    elsewhere: list[int] = []
    sweep(tmp_path, at="last").scores(elsewhere.append)
    assert sum(elsewhere) == sum(whole)


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    """Cut short, it is not read."""
    sweep(tmp_path).scores()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    again: list[int] = []
    sweep(tmp_path).scores(again.append)
    assert sum(again) > 0


def kept(folder: Path, node: int = 0, *, choosing: bool = False) -> KeptScores:
    """Of one circuit, whose name does not say which node is in it."""
    put = swapped(REFERENCE, nodes_of(tiny.layout("llama")))[node]
    task = support.repeats(pairs=20, vocabulary=tiny.VOCABULARY)
    runs, tasks = [replace(put, name="the first of it")], [task]
    return KeptScores.of(folder, runs, tasks, [], choosing=choosing)


def test_a_circuit_of_other_members_begins_anew(tmp_path: Path) -> None:
    """Though it goes by the same name; and so do the pairs for choosing."""
    files = {kept(tmp_path).path, kept(tmp_path, 1).path, kept(tmp_path, choosing=True).path}
    assert len(files) == 3
    assert kept(tmp_path).path in files


@pytest.mark.parametrize(
    "damage",
    [
        {"batches": None},
        {"batches": 1},
        {"overflowed": 3},
        {"held": {("none", "the first of it"): np.zeros((20, 2))}},
        {"held": "short"},
        {"flipped": True},
    ],
)
def test_what_was_not_written_so_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any
) -> None:
    """A number of batches that there are not, other types, tasks and shapes, under a hash that is
    right; and one value that is another than the hash is of."""
    left = kept(tmp_path)
    (task,) = [support.repeats(pairs=20, vocabulary=tiny.VOCABULARY)]
    key = task.task, "the first of it"
    whole = np.ones((len(task.scoring), 2))
    left.held = {key: whole}
    left.wave_done(0, {}, {})
    assert kept(tmp_path).held
    if damage.get("held") == "short":
        damage = {"held": {key: whole[1:]}}
    if "flipped" in damage:
        monkeypatch.setattr(kept_scores, "_seal", lambda *_: "another")
    left.held = damage.get("held", left.held)
    left.wave_done(damage.get("batches", 0), damage.get("overflowed", {}), {})
    monkeypatch.undo()
    assert not kept(tmp_path).held
