"""What forks do to answers is what benchmarks of the same compressions say."""

from pathlib import Path

import numpy as np
import pytest

from bitlens.config.study import Study, audit_of
from bitlens.results.benchmarks.folder import read_benchmarks
from bitlens.results.records import REFERENCE
from bitlens.workflows.bench.run import run as bench
from bitlens.workflows.sensitivity.answers import Questions, drop, stored_drops
from bitlens.workflows.sensitivity.run import Request, run
from bitlens.workflows.session import Session

HERE = "docs/examples/benchmark"
COMPRESSION = "rtn:bits=2"


def silent(line: str) -> None:
    pass


def asking(*compressions: str) -> Study:
    return audit_of(
        "demo",
        compressions,
        controls=(),
        benchmarks=(f"next_code={HERE}/next_code.jsonl",),
        include_path=HERE,
        limit=5,
        tokens=300,
        context=32,
    )


def test_a_loss_of_margin_is_a_mean_over_questions() -> None:
    """By hand: 0.5, -0.5 and 1 are lost, a third on average; leaving one out, 1/4, 3/4 and 0. A
    question without a margin leaves no number, and says so."""
    reference = {("a", 0): 1.0, ("a", 1): 2.0, ("b", 0): 0.0}
    found = drop(reference, {("a", 0): 0.5, ("a", 1): 2.5, ("b", 0): -1.0})
    assert found.value == pytest.approx(1 / 3)
    assert found.replicates == pytest.approx((0.25, 0.75, 0.0))
    assert found.documents == 3
    lost = drop(reference, {("a", 0): 0.5})
    assert lost.value is None
    assert lost.reason == "2 of 3 questions have no finite margin"
    assert drop({}, {}).reason == "no question has a right choice among others"


@pytest.mark.slow
def test_another_right_answer_is_another_question(tmp_path: Path) -> None:
    """The same choices, and another of them right: an earlier run does not stand for it."""
    first = Path(HERE, "next_code.jsonl").read_text().splitlines()[:2]
    keys = []
    for name, right in (("a", 0), ("b", 1), ("c", 0)):
        path = tmp_path / name / "next_code.jsonl"
        path.parent.mkdir()
        lines = [first[0].replace('"answer": 0', f'"answer": {right}'), first[1]]
        path.write_text("\n".join(lines))
        asked = asking(COMPRESSION).model_copy(update={"benchmarks": (f"next_code={path}",)})
        keys.append(Questions(Session.open(asked, silent)).key)
    assert keys[0] == keys[2]
    assert keys[0] != keys[1]


@pytest.mark.slow
def test_effects_on_answers_are_those_of_benchmarks(tmp_path: Path) -> None:
    """A block alone is the compression with `include`, all but it the one with `exclude`."""
    found = run(
        asking(COMPRESSION), Request(measures=("benchmark",)), tmp_path / "s", "command", silent
    )
    unit = next(unit for unit in found.units if unit.block == 1)
    names = ",".join(unit.matrices)
    only, left = (f"{COMPRESSION},{how}=[{names}]" for how in ("include", "exclude"))
    bench(asking(COMPRESSION, only, left), tmp_path / "b", "command", silent)
    margins: dict[str, list[float]] = {}
    for one in read_benchmarks(tmp_path / "b").outcomes:
        if one.metric == "acc" and one.margin is not None:
            margins.setdefault(one.compression, []).append(one.margin)
    lost = {name: np.mean(margins[REFERENCE]) - np.mean(of) for name, of in margins.items()}
    key = (COMPRESSION, unit.name)
    assert len(margins[REFERENCE]) == 5
    assert found.of("whole", "benchmark")[COMPRESSION, ""].value == pytest.approx(lost[COMPRESSION])
    assert found.of("only", "benchmark")[key].value == pytest.approx(lost[only], abs=1e-5)
    saved = lost[COMPRESSION] - lost[left]
    assert found.of("all but", "benchmark")[key].value == pytest.approx(saved, abs=1e-5)
    stored = stored_drops(tmp_path / "b", [only])[only]
    assert stored.value == pytest.approx(lost[only])
