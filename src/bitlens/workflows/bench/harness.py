"""Tasks of lm-evaluation-harness: loaded from local files or by name, and scored by its own code.

The one place that imports the harness, and only when a benchmark is asked for.
"""

import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from bitlens.data.benchmarks.asked import AskedBenchmark
from bitlens.data.benchmarks.rows import ENDINGS, read_rows
from bitlens.data.benchmarks.tasks import BENCHMARKS, TaskDefinition, category_of
from bitlens.data.chats import ChatFormat
from bitlens.errors import BitlensError, DataError, InputError, told
from bitlens.registry import nearest
from bitlens.workflows.bench.code import CodeTests
from bitlens.workflows.bench.request import BenchRequest

Kind = Literal["likelihood", "generation"]
KINDS: Mapping[str, Kind] = {
    "multiple_choice": "likelihood",
    "loglikelihood": "likelihood",
    "generate_until": "generation",
}
"""By the harness' type of output, how a task is asked."""
Sample = dict[str, Any]
"""What the harness logs of a question: `doc_id`, `arguments`, `resps`, `filter`, metrics, ..."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HarnessTask:
    """A task of the harness, ready to be asked."""

    benchmark: str
    """What was asked for."""
    category: str
    kind: Kind
    task: Any
    """`lm_eval.api.task.Task`."""
    notes: tuple[str, ...] = ()
    """What the reader of a result should know of its questions."""
    code: CodeTests | None = None
    """What runs the programs that it is answered with; None: it is answered with text."""

    @property
    def name(self) -> str:
        """The harness' own."""
        return str(self.task.config.task)

    @property
    def version(self) -> str:
        """The harness' own."""
        return str(self.task.VERSION)

    @property
    def shots(self) -> int:
        """Worked examples before every question."""
        return int(self.task.config.num_fewshot or 0)


def require() -> None:
    """InputError where the harness is not installed."""
    if find_spec("lm_eval") is None:
        raise InputError(
            "Benchmarks are asked for, and lm-evaluation-harness is not installed.",
            "the extra that brings it.",
            "pip install 'bitlens[bench]'",
        )


def load_tasks(request: BenchRequest) -> list[HarnessTask]:
    """Every task of the benchmarks that are asked for, in order. BitlensError for a name that is
    not known, and for data that are not here."""
    require()
    with _quiet():
        from lm_eval.api.task import ConfigurableTask

        found: list[HarnessTask] = []
        for asked in map(AskedBenchmark.parse, request.benchmarks):
            own = BENCHMARKS.get(asked.name)
            if own is not None:
                for defined in own.tasks(asked):
                    code = CodeTests() if defined.get("unsafe_code") else None
                    scored = code.definition() if code else {}
                    try:
                        task = ConfigurableTask(config={**_with_data(defined), **scored})
                    except Exception as error:
                        raise DataError(
                            f"{asked.path} cannot be read as {asked.name}: {told(error)}.",
                            "values of one kind in a column: all of them text, or all numbers.",
                            "mend the file, or fetch it again.",
                        ) from error
                    notes = tuple(defined.get("notes", ()))
                    found.append(_harness_task(asked.name, task, notes, code))
            else:
                tasks = _by_name(asked, request.include_path)
                found += [_harness_task(asked.name, task) for task in tasks]
    names = [task.name for task in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"The task {name} is asked for {names.count(name)} times.",
                "each task once; a group brings those that it is made of.",
                "leave one of the benchmarks out that bring it.",
            )
    _require_shares(found)
    return found


def _require_shares(tasks: Sequence[HarnessTask]) -> None:
    """InputError for a task without a metric that is a share, and for a benchmark whose tasks have
    other metrics each, before anything is computed: the first question of each is scored as if
    nothing had been answered."""
    samples = evaluate(_silent(), tasks, 1)
    of: dict[str, dict[str, list[str]]] = {}
    for task in tasks:
        if task.code is not None:
            task.code.forget()
        metrics = metrics_of(samples[task.name])
        if not metrics:
            raise InputError(
                f"{task.name} has no metric that says of each question how right it is.",
                "a metric from 0 to 1, a number a question: acc, exact_match, f1.",
                "leave it out.",
            )
        of.setdefault(task.benchmark, {})[task.name] = metrics
    for benchmark, by_task in of.items():
        kinds = list(dict.fromkeys(", ".join(metrics) for metrics in by_task.values()))
        if len(kinds) > 1:
            raise InputError(
                f"The tasks of {benchmark} are scored differently: {'; '.join(kinds)}.",
                "one score for all of its questions.",
                f"its tasks by name, {', '.join(list(by_task)[:3])}, ...",
            )


def _silent() -> Any:
    """A model of the harness that answers nothing."""
    from lm_eval.api.model import LM

    class Silent(LM):  # type: ignore[misc]
        """It neither knows nor writes."""

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            """Every choice is as likely."""
            return [(0.0, False) for _ in requests]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            """Every text is as likely."""
            return [0.0 for _ in requests]

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            """Nothing."""
            return ["" for _ in requests]

    return Silent()


def evaluate(
    lm: Any, tasks: Sequence[HarnessTask], limit: int | None, chat: ChatFormat | None = None
) -> dict[str, list[Sample]]:
    """What the harness makes of a model's answers: by task, a sample a question and filter.
    `lm`: an `LM` of the harness; `chat`: how it is asked where that is in its chat template, worked
    examples as turns of the chat."""
    from lm_eval import evaluator

    by_name = {task.name: task.task for task in tasks}
    with _quiet():
        results = evaluator.evaluate(
            lm,
            {"tasks": by_name, "groups": {}, "group_map": {}},
            limit=limit,
            bootstrap_iters=0,
            apply_chat_template=chat is not None,
            fewshot_as_multiturn=chat is not None,
            system_instruction=None if chat is None else chat.system,
            # Tasks that would run code in this process are refused when they are loaded; the code
            # of ours runs shut in, on the user's word.
            confirm_run_unsafe_code=True,
        )
    samples: dict[str, list[Sample]] = dict(results["samples"])
    return samples


def _harness_task(
    benchmark: str, task: Any, notes: tuple[str, ...] = (), code: CodeTests | None = None
) -> HarnessTask:
    if code is None and getattr(task, "UNSAFE_CODE", False):
        raise InputError(
            f"{task.config.task} would run the code that a model wrote within this very process.",
            "a task whose code can be shut in: humaneval.",
            "leave it out.",
        )
    kind = KINDS.get(task.OUTPUT_TYPE)
    if kind is None:
        raise InputError(
            f"{task.config.task} is of the kind {task.OUTPUT_TYPE}.",
            f"a task that is right or wrong: {', '.join(KINDS)}.",
            "of perplexities: bitlens audit --text FILE measures them on any text.",
        )
    return HarnessTask(
        benchmark=benchmark,
        category=category_of(benchmark),
        kind=kind,
        task=task,
        notes=notes,
        code=code,
    )


def _with_data(definition: TaskDefinition) -> dict[str, Any]:
    """A definition of ours as the harness takes it."""
    task = dict(definition)
    rows, shots = task.pop("rows"), task.pop("shots", None)
    task.pop("notes", None)
    if shots:
        task["fewshot_config"] = {"sampler": "first_n", "samples": shots}
    return {**task, "custom_dataset": _data({"test": rows}), "test_split": "test"}


def _data(splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """What gives the harness its rows."""
    from datasets import Dataset

    def given(**_: Any) -> dict[str, Any]:
        return {name: Dataset.from_list(list(rows)) for name, rows in splits.items()}

    return given


def _by_name(asked: AskedBenchmark, include_path: str | None) -> list[Any]:
    """Tasks of the harness, or of a folder of its YAML."""
    from lm_eval.tasks import TaskManager

    if include_path is not None and not Path(include_path).expanduser().is_dir():
        raise DataError(
            f"There is no folder {include_path}.",
            "a folder with tasks as the harness' YAML.",
            "--include-path FOLDER",
        )
    known: list[str] = []
    for settings in _places(include_path):
        manager = TaskManager(**settings)
        if asked.name in manager.all_tasks:
            return _built(manager, asked)
        known += manager.all_tasks
    raise InputError(
        f"There is no benchmark called {asked.name}.",
        f"one of {', '.join(BENCHMARKS)}, a task of lm-evaluation-harness, or one of "
        "--include-path.",
        nearest(asked.name, [*BENCHMARKS, *known]) or "lm_eval ls tasks lists the harness' own.",
    )


def _places(include_path: str | None) -> Iterator[dict[str, Any]]:
    """Where a name is looked for. The harness' thousands of files take it a quarter of a minute,
    and come last."""
    if include_path is not None:
        yield {"include_path": str(Path(include_path).expanduser()), "include_defaults": False}
    yield {"include_defaults": True}


def _built(manager: Any, asked: AskedBenchmark) -> list[Any]:
    try:
        if asked.path is None:
            return list(manager.load([asked.name])["tasks"].values())
        return [_over_file(manager, asked)]
    except BitlensError:
        raise
    # Whatever a task's own code raises: its data, a template, a function.
    except Exception as error:
        raise _unloaded(asked, manager, error) from error


def _over_file(manager: Any, asked: AskedBenchmark) -> Any:
    """A task of the harness whose questions are read from a local file: as many of the first ones
    as it wants worked examples are those, and are not asked."""
    entry = manager.task_index[asked.name]
    config = manager._factory._load_full_config(entry, None)
    if not isinstance(config.get("task"), str) or "class" in config:
        raise InputError(
            f"{asked.name} is not one task with data of its own, and a file is named for it.",
            "a single task of the harness.",
            f"--benchmarks {asked.name}, or its tasks with a file each.",
        )
    path = Path(str(asked.path)).expanduser()
    if not path.is_file():
        raise DataError(
            f"There is no file {path}, which {asked.name} is to be read from.",
            f"a file that ends in {', '.join(ENDINGS)}.",
            f"--benchmarks {asked.name}=FILE",
        )
    rows = read_rows(path)
    shots = int(config.get("num_fewshot") or 0)
    split = config.get("test_split") or config.get("validation_split") or "test"
    for name in ("tag", "group", "dataset_path", "dataset_name", "dataset_kwargs"):
        config.pop(name, None)
    for name in ("training_split", "validation_split", "test_split", "fewshot_split"):
        config.pop(name, None)
    config["fewshot_config"] = {"sampler": "first_n", "samples": rows[:shots]} if shots else None
    from lm_eval.api.task import ConfigurableTask

    return ConfigurableTask(
        config={**config, "custom_dataset": _data({split: rows[shots:]}), "test_split": split}
    )


def _unloaded(asked: AskedBenchmark, manager: Any, error: Exception) -> BitlensError:
    source = (manager.task_index[asked.name].cfg or {}).get("dataset_path")
    wanted = f"its data, {source} of the hub" if source else "its data"
    return DataError(
        f"{asked.name} cannot be loaded: {told(error)}.",
        f"{wanted}, within reach or in a local file.",
        f"--benchmarks {asked.name}=FILE ({', '.join(ENDINGS)}), with the columns that it reads.",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The harness without its bars and hints, and without asking the hub where it is told not
    to."""
    names = ("lm_eval", "lm-eval", "datasets", "evaluate")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    said = io.StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(said):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def metrics_of(samples: Iterable[Sample]) -> list[str]:
    """The names of the metrics of a task whose every value is a share, 0 wrong and 1 right, in the
    order in which the harness has them; with their filter where there is one to speak of."""
    found: dict[str, bool] = {}
    for sample in samples:
        for name in sample["metrics"]:
            value = sample[name]
            number = isinstance(value, bool | int | float) or hasattr(value, "dtype")
            fits = number and 0 <= float(value) <= 1
            key = metric_name(name, sample)
            found[key] = found.get(key, True) and fits
    return [name for name, fits in found.items() if fits]


def metric_name(name: str, sample: Sample) -> str:
    """`acc`; `exact_match,strict-match`."""
    return name if sample["filter"] == "none" else f"{name},{sample['filter']}"
