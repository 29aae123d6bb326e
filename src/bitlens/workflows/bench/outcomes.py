"""How a model did on every question, of what the harness says of it and of its log-probabilities
by block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bitlens.errors import InputError
from bitlens.results.benchmarks.records import NO_PICK, BenchTask, DepthOutcome, Outcome
from bitlens.workflows.bench.harness import HarnessTask, Sample, metric_name, metrics_of
from bitlens.workflows.bench.likelihoods import Likelihoods
from bitlens.workflows.bench.replay import LikelihoodRequest

PREDICTED = ("something else", "predicted")
"""The answers to a task that asks whether the one continuation would come first."""
PASSED = "passed"
"""What is to become of code."""


@dataclass(frozen=True)
class Stream:
    """Whose answers they are."""

    model: str
    compression: str

    def outcome(
        self, task: HarnessTask, sample: Sample, name: str, answer: str, target: str
    ) -> Outcome:
        """How it did on a question by the harness' metric of this name."""
        return Outcome(
            model=self.model,
            compression=self.compression,
            benchmark=task.benchmark,
            task=task.name,
            metric=metric_name(name, sample),
            doc=int(sample["doc_id"]),
            prompt_hash=sample["prompt_hash"],
            score=float(sample[name]),
            answer=answer,
            target=target,
        )


def bench_task(task: HarnessTask, samples: Sequence[Sample]) -> BenchTask:
    """What was asked; chance is the mean of one over the number of choices, where one of them is
    right and being right is what is scored."""
    choices = [len(_choices(task, sample)) for sample in samples]
    metrics = tuple(metrics_of(samples))
    if not metrics:
        raise InputError(
            f"{task.name} has no metric from 0 to 1.",
            "a metric that says of each question how right it is.",
            "leave it out.",
        )
    one = metrics[0].startswith("acc") and all(len(_right(task, s)) == 1 for s in samples)
    return BenchTask(
        benchmark=task.benchmark,
        task=task.name,
        category=task.category,
        version=task.version,
        kind=task.kind,
        questions=len({sample["doc_id"] for sample in samples}),
        shots=task.shots,
        metrics=metrics,
        chance=float(np.mean([1 / n for n in choices])) if all(choices) and one else None,
    )


def outcomes_of(
    task: HarnessTask, samples: Sequence[Sample], stream: Stream, metrics: Sequence[str]
) -> list[Outcome]:
    """An outcome a question and metric of a task of likelihoods."""
    found = []
    for sample in samples:
        said = np.array([answer[0] for answer in sample["filtered_resps"]])
        texts, right = _choices(task, sample), _right(task, sample)
        margin, lead = _margins(said[: len(texts)], right)
        for name in sample["metrics"]:
            if metric_name(name, sample) not in metrics:
                continue
            if texts:
                chosen = _pick(said, [str(c) for c in task.task.doc_to_choice(sample["doc"])], name)
                answer = texts[chosen]
                target = " or ".join(texts[n] for n in right)
            else:
                answer, target = PREDICTED[int(sample[name])], PREDICTED[1]
            one = stream.outcome(task, sample, name, answer, target)
            found.append(replace(one, margin=margin, lead=lead))
    return found


def written_outcomes(
    task: HarnessTask, samples: Sequence[Sample], stream: Stream, metrics: Sequence[str]
) -> list[Outcome]:
    """An outcome a question and metric of a task that is answered in writing: what the harness'
    filter found in the text; of code, how it ended."""
    found = []
    for sample in samples:
        said, target = sample["filtered_resps"][0], str(sample["target"])
        if task.code is not None:
            said, target = task.code.told(said[0], target), PASSED
        for name in sample["metrics"]:
            if metric_name(name, sample) in metrics:
                found.append(stream.outcome(task, sample, name, str(said), target))
    return found


def depths_of(
    task: HarnessTask,
    samples: Sequence[Sample],
    stream: Stream,
    likelihoods: Likelihoods,
    asked: Mapping[tuple[str, str], LikelihoodRequest],
    number: Mapping[LikelihoodRequest, int],
) -> list[DepthOutcome]:
    """The margin of the right choice and the choice that is first, after every block. `asked`:
    requests by their texts; `number`: where each is in the likelihoods."""
    found = []
    for sample in samples:
        texts, right = _choices(task, sample), _right(task, sample)
        if not 0 < len(right) < len(texts):
            continue
        pairs = [(str(a), str(b)) for a, b in sample["arguments"][: len(texts)]]
        at = likelihoods.at[[number[asked[pair]] for pair in pairs]]
        is_right = np.isin(np.arange(len(texts)), right)
        # A choice of which the lens gives no number cannot be set beside the others.
        known = np.isfinite(at).all(axis=0)
        at = np.where(known, at, 0.0)
        margins = at[is_right].max(axis=0) - at[~is_right].max(axis=0)
        picks = np.where(known, at.argmax(axis=0), NO_PICK)
        found.append(
            DepthOutcome(
                model=stream.model,
                compression=stream.compression,
                benchmark=task.benchmark,
                task=task.name,
                doc=int(sample["doc_id"]),
                margins=tuple(
                    m if there else None
                    for m, there in zip(margins.tolist(), known.tolist(), strict=True)
                ),
                picks=tuple(picks.tolist()),
            )
        )
    return found


def _choices(task: HarnessTask, sample: Sample) -> list[str]:
    """What each choice is called: its text, or its number where texts are alike."""
    if task.task.OUTPUT_TYPE != "multiple_choice":
        return []
    # Where the contexts differ and the continuation does not, the choices are the contexts.
    texts = [str(choice) for choice in task.task.doc_to_choice(sample["doc"])]
    return texts if len(set(texts)) == len(texts) else [str(n) for n in range(len(texts))]


def _right(task: HarnessTask, sample: Sample) -> list[int]:
    """The numbers of the right choices."""
    texts = _choices(task, sample)
    target: Any = sample["target"]
    if task.task.multiple_input:
        target = task.task.doc_to_text(sample["doc"])
    found = target if isinstance(target, list) else [target]
    numbers = [texts.index(t) if isinstance(t, str) and t in texts else t for t in found]
    return [int(n) for n in numbers if str(n).lstrip("-").isdigit() and 0 <= int(n) < len(texts)]


def _pick(said: np.ndarray, texts: Sequence[str], metric: str) -> int:
    """The choice that counts for a metric, as the harness has it. `said`: of every choice, then,
    for a metric that takes it off, of every choice without the question."""
    own, alone = said[: len(texts)], said[len(texts) :]
    if metric == "acc_mutual_info" and len(alone) == len(own):
        return int(np.argmax(own - alone))
    lengths = {
        "acc_norm": [float(len(text)) for text in texts],
        "acc_bytes": [float(len(text.encode())) for text in texts],
    }.get(metric)
    return int(np.argmax(own if lengths is None else own / np.array(lengths)))


def _margins(said: np.ndarray, right: Sequence[int]) -> tuple[float | None, float | None]:
    """The right choice over the best wrong one, and the best over the second."""
    if not 0 < len(right) < len(said):
        return None, None
    is_right = np.isin(np.arange(len(said)), right)
    second, best = np.sort(said)[-2:]
    return float(said[is_right].max() - said[~is_right].max()), float(best - second)
