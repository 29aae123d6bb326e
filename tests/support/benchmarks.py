"""Outcomes of benchmarks that are known beforehand."""

from collections.abc import Sequence
from pathlib import Path

from bitlens.results.benchmarks.changes import changes_of
from bitlens.results.benchmarks.folder import Benchmarked
from bitlens.results.benchmarks.generations import Generation
from bitlens.results.benchmarks.records import BenchTask, DepthOutcome, Outcome
from bitlens.results.records import REFERENCE

TWIN, CAST = "rtn:bits=3", "cast:dtype=bfloat16"


def task(benchmark: str = "quiz", questions: int = 40, category: str = "knowledge") -> BenchTask:
    """A task of four choices."""
    return BenchTask(
        benchmark=benchmark,
        task=f"{benchmark}_task",
        category=category,
        version="1.0",
        kind="likelihood",
        questions=questions,
        shots=0,
        metrics=("acc",),
        chance=0.25,
    )


def answered(
    compression: str, answers: str, targets: str, benchmark: str = "quiz"
) -> list[Outcome]:
    """A letter a question; the lead of each answer is its number."""
    return [
        Outcome(
            model="tiny",
            compression=compression,
            benchmark=benchmark,
            task=f"{benchmark}_task",
            metric="acc",
            doc=n,
            prompt_hash=str(n),
            score=float(answer == target),
            answer=answer,
            target=target,
            margin=float(n) if answer == target else -float(n),
            lead=float(n),
        )
        for n, (answer, target) in enumerate(zip(answers, targets, strict=True))
    ]


def wrote(
    compression: str, texts: Sequence[str], benchmark: str = "quiz", **more: object
) -> list[Generation]:
    """A text a question, a letter a token."""
    return [
        Generation(
            **{  # type: ignore[arg-type]
                "model": "tiny",
                "compression": compression,
                "benchmark": benchmark,
                "task": f"{benchmark}_task",
                "doc": n,
                "asked": "What is it?",
                "text": text,
                "tokens": len(text),
                "ended": "stop",
                **more,
            }
        )
        for n, text in enumerate(texts)
    ]


def by_depth(compression: str, picks: Sequence[Sequence[int]]) -> list[DepthOutcome]:
    """Picks of each question, one a block."""
    return [
        DepthOutcome(
            model="tiny",
            compression=compression,
            benchmark="quiz",
            task="quiz_task",
            doc=n,
            margins=tuple(float(pick == 0) - 0.5 for pick in of),
            picks=tuple(of),
        )
        for n, of in enumerate(picks)
    ]


def benchmarked(root: Path, lost: int = 12, questions: int = 40) -> Benchmarked:
    """A reference that is right throughout, a twin that loses its first answers and a cast that
    loses none, over two blocks."""
    right = "A" * questions
    tasks = [task(questions=questions)]
    outcomes = answered(REFERENCE, right, right)
    outcomes += answered(TWIN, "B" * lost + "A" * (questions - lost), right)
    outcomes += answered(CAST, right, right)
    depths = by_depth(REFERENCE, [(0, 0)] * questions)
    depths += by_depth(TWIN, [(0, 1)] * lost + [(0, 0)] * (questions - lost))
    depths += by_depth(CAST, [(0, 0)] * questions)
    return Benchmarked(
        root=root,
        about={
            "tool": {"version": "1"},
            "command": "bitlens bench",
            "keys": {"tiny": "0" * 16},
            "benchmarks": ["quiz"],
            "limit": None,
            "models": [
                {
                    "name": "tiny",
                    "fingerprint": "f",
                    "blocks": 2,
                    "twins": [
                        {"compression": TWIN, "control": False},
                        {"compression": CAST, "control": True},
                    ],
                    "failed": {},
                }
            ],
            "notes": ["Known beforehand."],
        },
        tasks=tasks,
        outcomes=outcomes,
        depths=depths,
        generations=[],
        changes=changes_of(tasks, outcomes, {CAST}),
    )
