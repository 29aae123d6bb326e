"""A sweep of pairs that is killed goes on after its last wave."""

from pathlib import Path

import numpy as np
import pytest

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
