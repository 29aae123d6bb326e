"""What is asked for of benchmarks, beside the study of a model, its twins and controls."""

from dataclasses import dataclass

from bitlens.config.study import Study
from bitlens.data.benchmarks.asked import AskedBenchmark


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """Which benchmarks, and how many questions of each."""

    benchmarks: tuple[str, ...]
    """Names, or names and the file or folder that holds them: `mmlu_cs=FOLDER`."""
    limit: int | None = None
    """At most so many questions of each task, the first ones; None: all."""
    include_path: str | None = None
    """A folder of tasks in the harness' own YAML."""
    confirm_run_unsafe_code: bool = False
    """Whether code that a model wrote may run, shut in."""

    @property
    def names(self) -> tuple[str, ...]:
        """The benchmarks without where they lie."""
        return tuple(AskedBenchmark.parse(text).name for text in self.benchmarks)

    @classmethod
    def of(cls, study: Study) -> "BenchRequest":
        """What a study asks for."""
        return cls(
            benchmarks=study.benchmarks,
            limit=study.limit,
            include_path=study.include_path,
            confirm_run_unsafe_code=study.confirm_run_unsafe_code,
        )
