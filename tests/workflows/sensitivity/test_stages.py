"""Stages: units that surely matter less leave early, and the others lose nothing by it."""

from pathlib import Path

import numpy as np
import pytest

from bitlens.config.study import audit_of
from bitlens.engine.summation import Summation
from bitlens.report.sensitivity.tables import staged
from bitlens.results.records import Value
from bitlens.results.sensitivity.folder import read_run
from bitlens.workflows.sensitivity import stages
from bitlens.workflows.sensitivity.run import Request, run


def silent(line: str) -> None:
    pass


@pytest.mark.slow
@pytest.mark.usefixtures("few_sequences")
def test_who_stays_has_the_numbers_of_a_run_without_stages(
    llama: Path, short_texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To rounding, interval and all. Who left was read on fewer documents, matters less than those
    sought, and did not leave unheard: what, when and what it saved is stored. A run that is stopped
    within its second stage goes on."""
    monkeypatch.setattr(stages, "FEWEST", 6)
    study = audit_of(str(llama), ("rtn:bits=2",), text=str(short_texts), tokens=4000, controls=())
    request = Request(division="kind", measures=("kl", "heads"), top=1)
    leave, entered = Summation.leave, []

    def stopping(self: Summation, *given: object) -> None:
        entered.append(1)
        if len(entered) == 2:
            raise KeyboardInterrupt
        leave(self, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Summation, "leave", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(study, request, tmp_path / "s", "command", silent)
    run(study, request, tmp_path / "s", "command", silent)
    found = read_run(tmp_path / "s")
    plain = run(
        study, Request(division="kind", measures=("kl", "heads")), tmp_path / "p", "c", silent
    )
    assert [s["documents"] for s in found.about["stages"]] == [6, 12, 24]
    left = {one["unit"] for stage in found.about["stages"] for one in stage["left"]}
    assert 0 < len(left) < len(found.units)
    assert len(found.effects) == len(plain.effects)
    for one, other in zip(found.effects, plain.effects, strict=True):
        assert (one.unit, one.way, one.measure) == (other.unit, other.way, other.measure)
        if one.unit not in left:
            assert one.documents == other.documents
            numbers = ((e.value, e.low, e.high, *e.replicates) for e in (one, other))
            np.testing.assert_allclose(*numbers, rtol=1e-4, atol=1e-9)
        elif one.measure == "kl":
            assert one.documents < 24
    effects = plain.of("only", "kl")
    most = max(e.value for e in effects.values() if e.value is not None)
    assert all(effects["rtn:bits=2", name].value < most for name in left)
    spent = sum(stage["passes"] for stage in found.about["stages"])
    assert spent < found.about["unstaged"]
    assert "Left, because surely less" in staged(found)


def test_only_a_sure_loser_leaves() -> None:
    """Two are sought of four. By hand: 3 is the second; 2.9 +-0.5 may be as much, and stays; 1 is
    below it under every replicate, and leaves, unless none of these says anything."""

    def value(number: float, spread: float) -> Value:
        replicates = tuple(number + spread * (n % 3 - 1) for n in range(9))
        return Value(metric="kl", site="", item="", value=number, replicates=replicates)

    numbers = {"a": value(9, 0.1), "b": value(3, 0), "c": value(2.9, 0.5), "d": value(1, 0.01)}

    class Two:
        top = 2

        class session:
            class study:
                interval = "jackknife"

    told = np.ones(9, dtype=bool)
    below = stages.Staged._below
    assert list(below(Two, numbers, told)) == ["d"]  # type: ignore[arg-type]
    assert list(below(Two, numbers, ~told)) == []  # type: ignore[arg-type]
