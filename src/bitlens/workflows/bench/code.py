"""HumanEval's score: of every program that a model wrote, whether it passed its tests when it was
run shut in. The metric and the filter have the harness' names and shapes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from bitlens.errors import InputError
from bitlens.progress import ProgressBar
from bitlens.results.counts import count
from bitlens.workflows.bench.untrusted.run import (
    OPTION,
    ProgramRun,
    require_containment,
    run_program,
)


class CodeTests:
    """The runs of programs, each once however many models wrote it. Scoring looks them up and
    runs nothing: what is missing is 0, and wanted."""

    def __init__(self) -> None:
        self.runs: dict[str, ProgramRun] = {}
        self.wanted: dict[str, None] = {}

    def pass_at_k(
        self,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int],  # noqa: ARG002
    ) -> dict[str, float]:
        """`pass@1`: the share of programs that pass, as the harness asks for it: the tests of one
        question, and what was written for it."""
        (tests,), (written,) = references, predictions
        programs = [program(text, tests) for text in written]
        self.wanted |= dict.fromkeys(p for p in programs if p not in self.runs)
        passed = [p in self.runs and self.runs[p].ended == "passed" for p in programs]
        return {"pass@1": sum(passed) / len(passed)}

    def run(self, log: Callable[[str], None]) -> None:
        """Run what was wanted. BitlensError where this machine cannot shut it in."""
        if not self.wanted:
            return
        with ProgressBar("generated code", "programs", len(self.wanted)) as bar:
            for text in self.wanted:
                self.runs[text] = run_program(text)
                bar.add(1)
        log(f"{count(len(self.wanted), 'program')} run, each shut in.")
        self.wanted.clear()

    def forget(self) -> None:
        """What was wanted was of no model yet."""
        self.wanted.clear()

    def definition(self) -> dict[str, Any]:
        """What a task of code is scored by, in the harness' words."""
        metric = {"metric": self.pass_at_k, "aggregation": "mean", "higher_is_better": True}
        together = {"function": "custom", "filter_fn": _completed}
        return {
            "metric_list": [{**metric, "k": [1]}],
            "filter_list": [{"name": "create_test", "filter": [together]}],
        }

    def told(self, text: str, tests: str) -> str:
        """How a program ended: `passed`, or why not."""
        ran = self.runs.get(program(text, tests))
        if ran is None:
            return "not run"
        return ran.ended if not ran.told else f"{ran.ended}: {ran.told}"


class Coded(Protocol):
    """A task that may be scored by running code."""

    @property
    def name(self) -> str:
        """The harness' own."""

    @property
    def code(self) -> CodeTests | None:
        """What runs its programs."""


def allow_code(tasks: Iterable[Coded], *, confirmed: bool) -> None:
    """InputError where a task runs code that a model wrote, and nobody said that it may, or this
    machine cannot shut it in."""
    names = [task.name for task in tasks if task.code is not None]
    if not names:
        return
    if not confirmed:
        raise InputError(
            f"{names[0]} runs code that a model wrote, and nobody read.",
            f"{OPTION}, with which each program runs shut in: no network, no files but its own, "
            "limits of time and memory.",
            f"{OPTION}, or leave {names[0]} out.",
        )
    require_containment()


def program(text: str, tests: str) -> str:
    """What is run, as the harness puts it together."""
    return f"{text}\n{tests}"


def _completed(
    answers: Sequence[Sequence[str]], questions: Sequence[Mapping[str, Any]]
) -> list[list[str]]:
    """What was written, after what it goes on from."""
    pairs = zip(answers, questions, strict=True)
    return [[question["prompt"] + text for text in texts] for texts, question in pairs]
