"""Answers of a model and its twins, scored by the harness: one replay a model."""

import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bitlens.models.generation import Generated
from bitlens.models.load import Loaded
from bitlens.results.benchmarks.generations import Generation, first_difference
from bitlens.results.benchmarks.records import BenchTask, DepthOutcome, Outcome
from bitlens.results.records import REFERENCE
from bitlens.workflows.bench.chat import AskedInChat
from bitlens.workflows.bench.generations import GenerationRequest
from bitlens.workflows.bench.harness import HarnessTask, Sample, evaluate
from bitlens.workflows.bench.likelihoods import Likelihoods
from bitlens.workflows.bench.outcomes import (
    Stream,
    bench_task,
    depths_of,
    outcomes_of,
    written_outcomes,
)
from bitlens.workflows.bench.replay import LikelihoodRequest, ReplayLM
from bitlens.workflows.session import Log

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ASKED = 600
"""Letters at the end of a question that are kept for a reader."""
Texts = Mapping[GenerationRequest, Generated]


@dataclass(frozen=True, eq=False, kw_only=True)
class Answers:
    """What one model said and wrote; None where it was not asked, or could not."""

    likelihoods: Likelihoods | None
    texts: Texts | None


@dataclass(eq=False)
class Scored:
    """How models did, as the harness has it."""

    tasks: dict[str, BenchTask] = field(default_factory=dict)
    """By the harness' name."""
    outcomes: list[Outcome] = field(default_factory=list)
    depths: list[DepthOutcome] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scoring:
    """What was asked of all models alike."""

    loaded: Loaded
    tasks: Sequence[HarnessTask]
    limit: int | None
    asked: Mapping[tuple[str, str], LikelihoodRequest]
    """Choices by their texts."""
    requests: Sequence[LikelihoodRequest]
    """In the order of the likelihoods."""
    chat: AskedInChat

    def scored(self, answers: Mapping[str, Answers], log: Log) -> Scored:
        """How each model did, by name, the reference among them. Code that was written is run
        first, of all models together."""
        code = [task for task in self.tasks if task.code is not None]
        for of in answers.values():
            self._samples(of, code)
        for task in code:
            assert task.code is not None
            task.code.run(log)
        found = Scored()
        for name, of in answers.items():
            self._add(found, name, of, answers[REFERENCE].texts or {})
        return found

    def _samples(
        self, answers: Answers, tasks: Sequence[HarnessTask]
    ) -> dict[str, tuple[HarnessTask, list[Sample]]]:
        """By task, what the harness makes of the answers; of those that there are answers to."""
        had = {"likelihood": answers.likelihoods, "generation": answers.texts}
        tasks = [task for task in tasks if had[task.kind] is not None]
        if not tasks:
            return {}
        said, wrote = answers.likelihoods, answers.texts
        replaying = ReplayLM(
            self.loaded.tokenizer,
            None if said is None else said.answers(self.requests),
            None if wrote is None else {request: one.text for request, one in wrote.items()},
            self.chat.template,
        )
        by_task = evaluate(replaying, tasks, self.limit, self.chat.how)
        return {task.name: (task, by_task[task.name]) for task in tasks}

    def _add(self, found: Scored, name: str, answers: Answers, reference: Texts) -> None:
        stream = Stream(self.loaded.name, name)
        number = {request: n for n, request in enumerate(self.requests)}
        for task, samples in self._samples(answers, self.tasks).values():
            about = found.tasks.setdefault(task.name, bench_task(task, samples))
            if answers.likelihoods is not None and task.kind == "likelihood":
                found.outcomes += outcomes_of(task, samples, stream, about.metrics)
                found.depths += depths_of(
                    task, samples, stream, answers.likelihoods, self.asked, number
                )
            elif answers.texts is not None:
                found.outcomes += written_outcomes(task, samples, stream, about.metrics)
                found.generations += generations_of(
                    task, samples, stream, (reference, answers.texts), self.loaded.tokenizer
                )


def generations_of(
    task: HarnessTask,
    samples: Sequence[Sample],
    stream: Stream,
    texts: tuple[Texts, Texts],
    tokenizer: "PreTrainedTokenizerBase",
) -> list[Generation]:
    """What a model wrote for each question, beside what the reference did. `texts`: the
    reference's, and its own."""
    found = {}
    for sample in samples:
        request = GenerationRequest.of(*sample["arguments"][0])
        expected, own = texts[0][request], texts[1][request]
        ran = None
        if task.code is not None:
            ran = task.code.told(sample["filtered_resps"][0][0], str(sample["target"]))
        found[int(sample["doc_id"])] = Generation(
            model=stream.model,
            compression=stream.compression,
            benchmark=task.benchmark,
            task=task.name,
            doc=int(sample["doc_id"]),
            asked=request.context[-ASKED:],
            text=own.text,
            tokens=len(own.tokens),
            ended=own.ended,
            ran=ran,
            **_parting(expected, own, tokenizer),
        )
    return [found[doc] for doc in sorted(found)]


def _parting(
    expected: Generated, own: Generated, tokenizer: "PreTrainedTokenizerBase"
) -> dict[str, Any]:
    """Where two texts part: after how many tokens and what text, and the tokens that differ."""
    shared = first_difference(expected.tokens, own.tokens)
    if shared is None:
        return {}

    def text(tokens: Sequence[int]) -> str:
        return str(tokenizer.decode(list(tokens), skip_special_tokens=True))

    before = text(own.tokens[:shared])
    # The token of a text that was cut at a stop string may lie in what was cut off, and half a
    # letter is not yet the letter.
    texts = [before, expected.text, own.text]
    before = os.path.commonprefix(texts)  # noqa: RUF071 (letter by letter is what is meant)
    mine, theirs = (text(one.tokens[: shared + 1])[len(before) :] for one in (own, expected))
    return {"shared": shared, "before": before, "token": mine, "reference_token": theirs}
