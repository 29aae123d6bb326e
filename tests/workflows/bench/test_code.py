"""Code that models wrote: asked for, run once, scored in the harness' shape."""

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from bitlens.errors import BitlensError, InputError
from bitlens.workflows.bench import code
from bitlens.workflows.bench.code import CodeTests, allow_code
from bitlens.workflows.bench.untrusted.run import ProgramRun

SUM = "def add(a, b):\n"
TESTS = "def check(f):\n    assert f(1, 2) == 3\n\ncheck(add)"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Programs that were run: those that add pass."""
    programs: list[str] = []

    def run(text: str) -> ProgramRun:
        programs.append(text)
        if "a + b" in text:
            return ProgramRun("passed", "", "")
        return ProgramRun("failed", "AssertionError", "")

    monkeypatch.setattr(code, "run_program", run)
    return programs


def test_equal_programs_run_once(ran: list[str]) -> None:
    """Scoring runs nothing itself: what it lacks is wanted, run, and looked up the next time."""
    tests = CodeTests()
    right, wrong = SUM + "    return a + b", SUM + "    return a"
    for _ in range(2):
        assert tests.pass_at_k([TESTS], [[right]], k=[1]) == {"pass@1": 0.0}
    tests.pass_at_k([TESTS], [[wrong]], k=[1])
    assert (tests.told(right, TESTS), ran) == ("not run", [])
    tests.run(lambda _: None)
    assert ran == [f"{right}\n{TESTS}", f"{wrong}\n{TESTS}"]
    tests.run(lambda _: None)
    assert len(ran) == 2
    assert tests.pass_at_k([TESTS], [[right]], k=[1]) == {"pass@1": 1.0}
    assert tests.pass_at_k([TESTS], [[right, wrong]], k=[1]) == {"pass@1": 0.5}
    assert tests.told(wrong, TESTS) == "failed: AssertionError"


def test_code_wants_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the option nothing is run; with it only where it can be shut in; and nobody is asked
    where there is none."""

    class Task:
        name, code = "humaneval", CodeTests()

    class Text:
        name, code = "gsm8k", None

    def missing() -> None:
        raise InputError("No network namespace.", "one.", "elsewhere.")

    monkeypatch.setattr(code, "require_containment", missing)
    allow_code([Text()], confirmed=False)
    with pytest.raises(InputError, match="humaneval runs code that a model wrote"):
        allow_code([Text(), Task()], confirmed=False)
    with pytest.raises(InputError, match="No network namespace"):
        allow_code([Task()], confirmed=True)


@pytest.mark.slow
def test_the_harness_scores_what_was_run(
    ran: list[str], tmp_path: Path, letters: PreTrainedTokenizerFast
) -> None:
    """HumanEval as the harness has it: the metric pass@1 under its filter's name, of prompt and
    answer together."""
    pytest.importorskip("lm_eval")
    from bitlens.workflows.bench.generations import GenerationRequest
    from bitlens.workflows.bench.harness import evaluate, load_tasks, metrics_of
    from bitlens.workflows.bench.replay import ReplayLM
    from bitlens.workflows.bench.request import BenchRequest

    path = tmp_path / "HumanEval.jsonl"
    row = {"prompt": SUM, "entry_point": "add", "test": "def check(f):\n    assert f(1, 2) == 3\n"}
    rows = [{**row, "task_id": str(n), "prompt": f"# {n}\n{SUM}"} for n in range(2)]
    path.write_text("\n".join(map(json.dumps, rows)))
    (task,) = load_tasks(BenchRequest(benchmarks=(f"humaneval={path}",)))
    asking = ReplayLM(letters)
    evaluate(asking, [task], None)
    task.code.forget()
    texts = {one: ("    return a + b" if "1" in one.context else "") for one in asking.begun}
    assert all(isinstance(one, GenerationRequest) for one in texts)
    for expected in ([0.0, 0.0], [0.0, 1.0]):
        (samples,) = evaluate(ReplayLM(letters, None, texts), [task], None).values()
        assert [sample["pass@1"] for sample in samples] == expected
        task.code.run(lambda _: None)
    assert metrics_of(samples) == ["pass@1,create_test"]
    assert ran[1] == f"# 1\n{SUM}    return a + b\n{row['test']}\ncheck(add)"


@pytest.mark.slow
def test_code_that_cannot_be_shut_in_is_refused(tmp_path: Path) -> None:
    """A task of somebody's YAML would be run by the harness itself, in this process."""
    pytest.importorskip("lm_eval")
    from bitlens.workflows.bench.harness import load_tasks
    from bitlens.workflows.bench.request import BenchRequest

    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"q": "1", "a": "2"}')
    (tmp_path / "own.yaml").write_text(
        "task: own_code\nunsafe_code: true\noutput_type: generate_until\ntest_split: test\n"
        f"dataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {rows}\n"
        "doc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n"
    )
    request = BenchRequest(benchmarks=("own_code",), include_path=str(tmp_path))
    with pytest.raises(BitlensError, match="within this very process"):
        load_tasks(request)
