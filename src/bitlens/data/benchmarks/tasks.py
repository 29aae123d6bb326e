"""The benchmarks that bitlens defines itself, over local files: equal to the definitions of
lm-evaluation-harness of the same name and version.

A task is a dictionary of the harness (`lm_eval`), which is not needed to make one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from bitlens.data.benchmarks import gsm8k, humaneval, mmlu
from bitlens.data.benchmarks.asked import AskedBenchmark
from bitlens.errors import DataError

Category = Literal["code", "math", "knowledge", "language", "other"]
CATEGORIES: tuple[str, ...] = get_args(Category)
TaskDefinition = dict[str, Any]
"""A task of the harness in its own words; its data are the rows themselves, under `rows`."""


@dataclass(frozen=True, kw_only=True)
class OwnBenchmark:
    """A benchmark that bitlens defines itself."""

    name: str
    category: Category
    wanted: str
    """Which file or folder it is read from, in words."""
    example: str
    """What one would type."""
    define: Callable[[Path], list[TaskDefinition]]
    """The tasks that it is made of, of a file or folder that is there."""

    def tasks(self, asked: AskedBenchmark) -> list[TaskDefinition]:
        """Its tasks over the files that were named. DataError where none were, or none are
        there."""
        if asked.path is None:
            raise DataError(
                f"{self.name} is asked for, and no file of it is named.",
                self.wanted,
                f"--benchmarks {self.name}={self.example}",
            )
        path = Path(asked.path).expanduser()
        if not path.exists():
            raise DataError(
                f"There is no {path}, which {self.name} is to be read from.",
                self.wanted,
                f"--benchmarks {self.name}={self.example}",
            )
        return self.define(path)


BENCHMARKS: dict[str, OwnBenchmark] = {
    own.name: own
    for own in (
        OwnBenchmark(
            name="mmlu_cs",
            category="knowledge",
            wanted="a folder with the subjects of MMLU as CSV files with a header row: "
            + ", ".join(mmlu.file_name(subject) for subject in mmlu.SUBJECTS),
            example="mmlu",
            define=mmlu.define,
        ),
        OwnBenchmark(
            name="gsm8k",
            category="math",
            wanted="the test split of GSM8K, a question and an answer a row",
            example="gsm8k_test.jsonl",
            define=gsm8k.define,
        ),
        OwnBenchmark(
            name="humaneval",
            category="code",
            wanted="HumanEval, a problem a row",
            example="HumanEval.jsonl.gz",
            define=humaneval.define,
        ),
    )
}

_WORDS: dict[Category, tuple[str, ...]] = {
    "code": ("humaneval", "mbpp", "code", "apps", "bigcodebench"),
    "math": ("gsm8k", "math", "arithmetic", "svamp", "aime", "asdiv", "mgsm"),
    "knowledge": ("mmlu", "arc", "triviaqa", "nq_open", "sciq", "openbookqa", "truthfulqa", "gpqa"),
    "language": ("lambada", "hellaswag", "winogrande", "piqa", "blimp", "boolq", "glue", "copa"),
}


def category_of(name: str) -> Category:
    """What a benchmark asks for, by its name; `other` where the name does not say."""
    if name in BENCHMARKS:
        return BENCHMARKS[name].category
    low = name.lower()
    return next((c for c, words in _WORDS.items() if any(w in low for w in words)), "other")
